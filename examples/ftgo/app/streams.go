package app

import (
	"context"
	"net/http"
	"strings"
	"sync"
)

// streams are the answers that last. Draining ends them: their clients connect elsewhere.
type streams struct {
	mu    sync.Mutex
	open  map[*http.Request]context.CancelFunc
	ended bool
}

// serve hands a request on; a stream until the process drains.
func (s *streams) serve(next http.Handler, w http.ResponseWriter, r *http.Request) {
	if !strings.HasSuffix(r.URL.Path, "/events") {
		next.ServeHTTP(w, r)
		return
	}
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	r = r.WithContext(ctx)
	s.add(r, cancel)
	defer s.remove(r)
	next.ServeHTTP(w, r)
}

func (s *streams) add(r *http.Request, cancel context.CancelFunc) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended {
		cancel()
		return
	}
	if s.open == nil {
		s.open = map[*http.Request]context.CancelFunc{}
	}
	s.open[r] = cancel
}

func (s *streams) remove(r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.open, r)
}

// end ends those that are open and those that still come.
func (s *streams) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ended = true
	for _, cancel := range s.open {
		cancel()
	}
}
