package embedded

import (
	"fmt"
	"log/slog"
	"sync"
)

// logger hands the server's log over to slog, and keeps the last error for a start that
// fails.
type logger struct {
	to *slog.Logger

	mu   sync.Mutex
	last string
}

func (l *logger) Noticef(format string, v ...any) {
	l.to.Debug("nats server", "text", fmt.Sprintf(format, v...))
}
func (l *logger) Debugf(format string, v ...any) { l.Noticef(format, v...) }
func (l *logger) Tracef(format string, v ...any) { l.Noticef(format, v...) }
func (l *logger) Warnf(format string, v ...any) {
	l.to.Warn("nats server", "text", fmt.Sprintf(format, v...))
}

func (l *logger) Errorf(format string, v ...any) {
	text := fmt.Sprintf(format, v...)
	l.mu.Lock()
	l.last = text
	l.mu.Unlock()
	l.to.Error("nats server", "text", text)
}

// Fatalf must not end the process: the server is a guest in it, and its failure shows.
func (l *logger) Fatalf(format string, v ...any) { l.Errorf(format, v...) }

func (l *logger) worst() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.last
}
