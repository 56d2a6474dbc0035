package server

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"

	"gemel/lab/drive"
	"gemel/lab/drive/faults"
)

// Orders of the socket: POST with a JSON body, answered with JSON or {"error": …}.
const (
	orderStatus   = "/status"
	orderFault    = "/fault"
	orderHeal     = "/heal"
	orderPowerCut = "/power-cut"
	orderPowerOn  = "/power-on"
	orderReset    = "/reset"
	orderSwap     = "/swap"
	orderStop     = "/stop"
)

type healOrder struct {
	ID int `json:"id"` // 0: all
}

type swapOrder struct {
	Image string `json:"image"` // made when missing
}

type answer struct {
	Error string `json:"error"`
}

func (s *server) orders() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST "+orderStatus, order(func(struct{}) (Status, error) { return s.status(), nil }))
	mux.HandleFunc("POST "+orderFault, order(s.fault))
	mux.HandleFunc("POST "+orderHeal, order(s.heal))
	mux.HandleFunc("POST "+orderPowerCut, order(s.cutPower))
	mux.HandleFunc("POST "+orderPowerOn, order(func(struct{}) (Status, error) { s.disk.PowerOn(); return s.status(), nil }))
	mux.HandleFunc("POST "+orderReset, order(func(struct{}) (Status, error) { s.disk.Reset(); return s.status(), nil }))
	mux.HandleFunc("POST "+orderSwap, order(s.swap))
	mux.HandleFunc("POST "+orderStop, order(func(struct{}) (Status, error) { defer s.stop(); return s.status(), nil }))
	return mux
}

const orderLimit = 64 << 10 // bytes of an order

func order[In, Out any](do func(In) (Out, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		var in In
		err := json.NewDecoder(http.MaxBytesReader(w, r.Body, orderLimit)).Decode(&in)
		var out any
		if err == nil {
			out, err = do(in)
		}
		w.Header().Set("Content-Type", "application/json")
		if err != nil {
			w.WriteHeader(http.StatusBadRequest)
			out = answer{Error: err.Error()}
		}
		_ = json.NewEncoder(w).Encode(out) // whoever went away needs no answer
	}
}

func (s *server) status() Status {
	s.mu.Lock()
	defer s.mu.Unlock()
	return Status{
		Report: s.disk.Report(), Name: s.config.Name, Device: s.attached.Device(), Image: s.config.Image,
		PID: os.Getpid(), LastLoss: s.lastLoss,
	}
}

func (s *server) fault(f faults.Fault) (faults.Fault, error) {
	f, err := s.disk.Fault(f)
	if err == nil {
		s.log.Info("fault", "fault", f.String(), "id", f.ID)
	}
	return f, err
}

func (s *server) heal(o healOrder) ([]faults.Fault, error) {
	if o.ID == 0 {
		healed := s.disk.HealAll()
		s.log.Info("healed", "faults", len(healed))
		return healed, nil
	}
	for _, f := range s.disk.Report().Faults {
		if f.ID == o.ID && s.disk.Heal(f.ID) {
			s.log.Info("healed", "fault", f.String(), "id", f.ID)
			return []faults.Fault{f}, nil
		}
	}
	return nil, fmt.Errorf("the drive has no fault number %d", o.ID)
}

func (s *server) cutPower(cut drive.Cut) (drive.Loss, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	loss, err := s.disk.CutPower(cut)
	if err != nil {
		return loss, err
	}
	s.lastLoss = &loss
	s.log.Info("power cut", "seed", cut.Seed, "cached", loss.Cached, "lost", len(loss.Writes), "lost_bytes", loss.LostBytes)
	return loss, nil
}

// swap puts another image in the place of the one in use.
func (s *server) swap(o swapOrder) (Status, error) {
	if !filepath.IsAbs(o.Image) {
		return Status{}, errors.New("swap the disk: the image needs an absolute path")
	}
	if err := s.swapImage(o.Image); err != nil {
		return Status{}, fmt.Errorf("swap the disk: %w", err)
	}
	return s.status(), nil
}

func (s *server) swapImage(image string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if image == s.config.Image {
		return fmt.Errorf("%s is the one in use", image)
	}
	fresh, err := openImage(image, s.disk.SizeBytes())
	if err != nil {
		return err
	}
	old, err := s.disk.Swap(fresh)
	if err != nil {
		return errors.Join(err, fresh.Close())
	}
	s.log.Info("swapped", "old", s.config.Image, "new", image)
	s.config.Image = image
	return errors.Join(old.Close(), saveConfig(s.dir, s.config))
}
