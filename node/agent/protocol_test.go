package agent

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"gemel/node/api"
	"gemel/node/replicator/control"
)

func TestProtocolIsChangedOnBothNodes(t *testing.T) {
	s := newStage(t, nil)
	req := control.ProtocolRequest{Volume: "data", Protocol: "A"}
	if err := s.agent.protocol(t.Context(), req, false); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(s.replica.protocols, []string{"A"}) || !slices.Contains(s.votes.all(), "private protocol A") {
		t.Errorf("here %v, the peer %v", s.replica.protocols, s.votes.all())
	}
	before := len(s.votes.all())
	if err := s.agent.protocol(t.Context(), req, true); err != nil || len(s.votes.all()) != before {
		t.Errorf("a forwarded order was forwarded again, or failed: %v", err)
	}
	s.private.err, s.lan.err = errors.New("no way"), errors.New("no way")
	if err := s.agent.protocol(t.Context(), req, false); err == nil || !strings.Contains(err.Error(), "repeat the command") {
		t.Errorf("the peer could not be told: %v", err)
	}
	req.Volume = "other"
	if err := s.agent.protocol(t.Context(), req, false); !errors.Is(err, &api.Error{Code: api.CodeUnknownVolume}) {
		t.Errorf("unknown volume: %v", err)
	}
}
