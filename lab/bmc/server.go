package bmc

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"
)

// Config describes one power control.
type Config struct {
	Name     string        // of the box
	User     string        // for basic authentication and sessions
	Password string        // the same
	Boot     time.Duration // from power to the box's first program
	Machine  Machine
	Faults   func() Faults // asked at every request; nil: none
}

// Server answers Redfish requests. Close it to end what it began.
type Server struct {
	config Config
	power  *power
	mux    *http.ServeMux
	life   context.Context
	end    context.CancelFunc

	mu       sync.Mutex
	sessions map[string]string // token by session id
	next     int
}

// Paths of the service.
const (
	rootPath     = "/redfish/v1/"
	systemsPath  = "/redfish/v1/Systems"
	systemPath   = "/redfish/v1/Systems/1"
	resetPath    = systemPath + "/Actions/ComputerSystem.Reset"
	servicePath  = "/redfish/v1/SessionService"
	sessionsPath = servicePath + "/Sessions"
)

// New returns a power control for a box.
func New(config Config) *Server {
	s := &Server{config: config, mux: http.NewServeMux(), sessions: map[string]string{},
		power: &power{machine: config.Machine, boot: config.Boot}}
	s.life, s.end = context.WithCancel(context.Background())
	s.mux.HandleFunc("GET /redfish", open(map[string]string{"v1": rootPath}))
	s.mux.HandleFunc("GET /redfish/v1", open(s.root()))
	s.mux.HandleFunc("GET /redfish/v1/{$}", open(s.root()))
	s.mux.HandleFunc("POST "+sessionsPath, s.login)
	s.mux.HandleFunc("DELETE "+sessionsPath+"/{id}", s.known(s.logout))
	s.mux.HandleFunc("GET "+servicePath, s.known(open(sessionService())))
	s.mux.HandleFunc("GET "+sessionsPath, s.known(s.listSessions))
	s.mux.HandleFunc("GET "+systemsPath, s.known(open(collection(systemsPath, "ComputerSystemCollection.ComputerSystemCollection", systemPath))))
	s.mux.HandleFunc("GET "+systemPath, s.known(s.system))
	s.mux.HandleFunc("POST "+resetPath, s.known(s.reset))
	s.mux.HandleFunc("/", s.known(func(w http.ResponseWriter, r *http.Request) {
		refuse(w, http.StatusNotFound, "ResourceMissingAtURI", "there is no "+r.Method+" "+r.URL.Path)
	}))
	return s
}

// Close ends the restarts under way, with the boxes switched on, and waits for them.
func (s *Server) Close() {
	s.end()
	s.power.later.Wait()
}

// ServeHTTP answers a request, late if the power control is slow.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if slow := s.faults().Slow; slow > 0 {
		timer := time.NewTimer(slow)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-r.Context().Done():
			return
		}
	}
	w.Header().Set("OData-Version", "4.0")
	s.mux.ServeHTTP(w, r)
}

func (s *Server) faults() Faults {
	if s.config.Faults == nil {
		return Faults{}
	}
	return s.config.Faults()
}

// known lets a request through whose sender has the password or a session.
func (s *Server) known(next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		user, password, basic := r.BasicAuth()
		if basic && s.trusts(user, password) || s.inSession(r.Header.Get("X-Auth-Token")) {
			next(w, r)
			return
		}
		w.Header().Set("WWW-Authenticate", `Basic realm="`+s.config.Name+`"`)
		refuse(w, http.StatusUnauthorized, "NoValidSession", "neither user and password nor a session are valid")
	}
}

func (s *Server) trusts(user, password string) bool {
	given := sha256.Sum256([]byte(user + "\x00" + password))
	wanted := sha256.Sum256([]byte(s.config.User + "\x00" + s.config.Password))
	return subtle.ConstantTimeCompare(given[:], wanted[:]) == 1
}

func (s *Server) inSession(token string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, other := range s.sessions {
		if token != "" && subtle.ConstantTimeCompare([]byte(token), []byte(other)) == 1 {
			return true
		}
	}
	return false
}

func (s *Server) system(w http.ResponseWriter, r *http.Request) {
	state, err := s.power.state(r.Context(), s.faults())
	if err != nil {
		refuse(w, http.StatusInternalServerError, "InternalError", "the power state is not known: "+err.Error())
		return
	}
	body := s.systemBody(state)
	data, err := json.Marshal(body)
	if err != nil {
		refuse(w, http.StatusInternalServerError, "InternalError", err.Error())
		return
	}
	sum := sha256.Sum256(data)
	tag := `"` + hex.EncodeToString(sum[:8]) + `"`
	w.Header().Set("ETag", tag)
	if r.Header.Get("If-None-Match") == tag {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	body["@odata.etag"] = tag
	answer(w, http.StatusOK, body)
}

// reset carries out ComputerSystem.Reset.
func (s *Server) reset(w http.ResponseWriter, r *http.Request) {
	var order struct{ ResetType string }
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 1<<16)).Decode(&order); err != nil {
		refuse(w, http.StatusBadRequest, "MalformedJSON", "the order is no JSON: "+err.Error())
		return
	}
	if !slices.Contains(resets, order.ResetType) {
		refuse(w, http.StatusBadRequest, "ActionParameterNotSupported",
			fmt.Sprintf("ResetType %q is not one of %s", order.ResetType, strings.Join(resets, ", ")))
		return
	}
	faults := s.faults()
	if faults.Fail {
		refuse(w, http.StatusInternalServerError, "InternalError", "the power control is out of order")
		return
	}
	// The order is carried out whether or not its sender waits for the end.
	if err := s.power.reset(context.WithoutCancel(r.Context()), s.life, order.ResetType, faults); err != nil {
		refuse(w, http.StatusInternalServerError, "InternalError", err.Error())
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

func (s *Server) login(w http.ResponseWriter, r *http.Request) {
	var who struct{ UserName, Password string }
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 1<<16)).Decode(&who); err != nil || !s.trusts(who.UserName, who.Password) {
		refuse(w, http.StatusUnauthorized, "NoValidSession", "user or password is wrong")
		return
	}
	s.mu.Lock()
	s.next++
	id, token := fmt.Sprint(s.next), rand.Text()
	s.sessions[id] = token
	s.mu.Unlock()
	w.Header().Set("X-Auth-Token", token)
	w.Header().Set("Location", sessionsPath+"/"+id)
	answer(w, http.StatusCreated, sessionBody(id, who.UserName))
}

func (s *Server) logout(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	_, there := s.sessions[r.PathValue("id")]
	delete(s.sessions, r.PathValue("id"))
	s.mu.Unlock()
	if !there {
		refuse(w, http.StatusNotFound, "ResourceMissingAtURI", "there is no such session")
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

func (s *Server) listSessions(w http.ResponseWriter, _ *http.Request) {
	s.mu.Lock()
	var paths []string
	for id := range s.sessions {
		paths = append(paths, sessionsPath+"/"+id)
	}
	s.mu.Unlock()
	slices.Sort(paths)
	answer(w, http.StatusOK, collection(sessionsPath, "SessionCollection.SessionCollection", paths...))
}
