package api

import (
	"context"
	"encoding/json"
	"net/http"
	"strconv"
	"time"

	"gemel/node/event"
)

// PathHistory is a GET: ?from=UNIX MILLISECONDS&volume=NAME.
const PathHistory = "/v1/history"

// HistoryQuery says which events are wanted.
type HistoryQuery struct {
	From   time.Time
	Volume string // empty: all; events of the whole node belong to every volume
}

// HistoryPage is what a daemon has on disk of the wanted events, oldest first.
type HistoryPage struct {
	Events []event.Event `json:"events"`
	// Cut: there are older ones, which one reply has no room for.
	Cut bool `json:"cut,omitempty"`
	// Lost is how many events could not be written to disk since the daemon's start,
	// and Problem why the newest one was not.
	Lost    int    `json:"lost,omitempty"`
	Problem string `json:"problem,omitempty"`
}

// historyRoom is how much of a reply events may fill.
const historyRoom = MaxReply * 3 / 4

// PageOf picks the wanted ones of events, the newest ones when not all find room.
func (q HistoryQuery) PageOf(events []event.Event) HistoryPage {
	page := HistoryPage{Events: []event.Event{}}
	room := historyRoom
	for i := len(events) - 1; i >= 0; i-- {
		e := &events[i]
		if e.Time.Before(q.From) || q.Volume != "" && e.Volume != "" && e.Volume != q.Volume {
			continue
		}
		raw, err := json.Marshal(e)
		if room -= len(raw) + 1; err != nil || room < 0 {
			page.Cut = true
			break
		}
		page.Events = append(page.Events, *e)
	}
	for i, j := 0, len(page.Events)-1; i < j; i, j = i+1, j-1 {
		page.Events[i], page.Events[j] = page.Events[j], page.Events[i]
	}
	return page
}

// History refuses.
func (Unsupported) History(context.Context, Caller, HistoryQuery) (HistoryPage, error) {
	return HistoryPage{}, errUnsupported
}

func (s *Server) history(ctx context.Context, c Caller, r *http.Request, _ []byte) (any, error) {
	from, err := number(r, "from")
	if err != nil {
		return nil, err
	}
	return s.handler.History(ctx, c, HistoryQuery{From: time.UnixMilli(int64(from)), //nolint:gosec // a time
		Volume: r.URL.Query().Get("volume")})
}

// History returns the events that the daemon keeps on disk.
func (c *Client) History(ctx context.Context, q HistoryQuery) (HistoryPage, error) {
	ctx, cancel := context.WithTimeout(ctx, max(c.timeout, quickLimit))
	defer cancel()
	path := PathHistory + "?from=" + strconv.FormatInt(max(q.From.UnixMilli(), 0), 10) + "&volume=" + q.Volume
	return call[HistoryPage](ctx, c, http.MethodGet, path, nil)
}
