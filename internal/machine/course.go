package machine

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Flow is what the machine needs to know of a choreography: who reacts to which events with which.
type Flow struct {
	// Starts is the event that an instance begins with; Completes and Compensates end it.
	// Compensates may be empty.
	Starts, Completes, Compensates string
	// Deadline from the start, and from whatever makes a parked instance go on.
	Deadline  time.Duration
	Reactions []Reaction
}

// Reaction is what a service does about events. Events are known by their names.
type Reaction struct {
	Service, Name string
	On            []string
	// All says that it takes every event of On; otherwise each alone will do.
	All bool
	// Emits lists the events of which it emits one.
	Emits []string
	// Undoes names a reaction of the same service.
	Undoes string
}

// Course is an instance of a choreography under way, as the one who tracks it knows it.
type Course struct {
	Status Status `json:"-"`
	// Seen are the events, in the order in which they came.
	Seen []string `json:"seen,omitempty"`
	// Reason says why it is parked, or what it was compensated for.
	Reason string    `json:"-"`
	DueAt  time.Time `json:"-"`
	// Entries counts the history written so far.
	Entries int `json:"entries"`
}

// Seen is an event of the instance, emitted by a service.
type Seen struct{ Event, Service string }

func (Seen) event() {}

// What a history line says of a choreography's event.
const (
	WhatSeen      = "seen"
	WhatSeenAgain = "seen again"
	WhatSeenLate  = "seen after the end"
)

// Follow steps a choreography's instance: it only takes note, since nobody is told what to do. The
// instance given is not changed. An error means that the event does not fit, and nothing happened.
func Follow(f *Flow, c Course, event Event, now time.Time) (Course, []Record, error) {
	s := follower{flow: f, course: c, now: now}
	s.course.Seen = slices.Clone(c.Seen)
	if err := s.follow(event); err != nil {
		return c, nil, err
	}
	return s.course, s.records, nil
}

type follower struct {
	flow    *Flow
	course  Course
	now     time.Time
	records []Record
}

func (s *follower) follow(event Event) error {
	switch e := event.(type) {
	case Start:
		if s.course.Status != "" {
			return fmt.Errorf("started already: %s", s.course.Status)
		}
		s.goOn()
		s.course.Seen = []string{s.flow.Starts}
		s.record(s.flow.Starts, WhatStarted, "")
	case Seen:
		s.seen(e)
	case Timeout:
		s.timeout()
	case Resume:
		if s.course.Status != Parked {
			return ErrNotParked
		}
		s.goOn()
		s.record("", WhatResumed, e.Detail)
	default:
		return fmt.Errorf("event %T is none of a choreography's", event)
	}
	return nil
}

func (s *follower) goOn() {
	s.course.Status, s.course.Reason, s.course.DueAt = Running, "", s.now.Add(s.flow.Deadline)
}

func (s *follower) seen(e Seen) {
	detail := "from " + e.Service
	again := slices.Contains(s.course.Seen, e.Event)
	switch {
	case s.course.Status == Completed || s.course.Status == Compensated:
		s.record(e.Event, WhatSeenLate, detail)
		return
	case again:
		s.record(e.Event, WhatSeenAgain, detail)
		return
	}
	s.course.Seen = append(s.course.Seen, e.Event)
	s.record(e.Event, WhatSeen, detail)
	switch {
	case e.Event == s.flow.Completes:
		s.end(Completed, WhatCompleted, "")
	case e.Event == s.flow.Compensates:
		s.end(Compensated, WhatReversed, s.cause(e.Event))
	case s.course.Status == Parked:
		s.goOn()
		s.record(e.Event, WhatResumed, "it came after all")
	}
}

func (s *follower) end(status Status, what, reason string) {
	s.course.Status, s.course.Reason, s.course.DueAt = status, reason, time.Time{}
	s.record("", what, reason)
}

// cause names the events that led to one, as far as they were seen.
func (s *follower) cause(event string) string {
	var causes []string
	for i := range s.flow.Reactions {
		r := &s.flow.Reactions[i]
		if !slices.Contains(r.Emits, event) {
			continue
		}
		for _, on := range r.On {
			if slices.Contains(s.course.Seen, on) && !slices.Contains(causes, on) {
				causes = append(causes, on)
			}
		}
	}
	return strings.Join(causes, ", ")
}

func (s *follower) timeout() {
	if s.course.Status != Running || s.course.DueAt.IsZero() || s.now.Before(s.course.DueAt) {
		return
	}
	s.course.Status, s.course.DueAt = Parked, time.Time{}
	s.course.Reason = "stalled: " + s.flow.missing(s.course.Seen)
	s.record("", WhatParked, s.course.Reason)
}

// missing says what is expected, and from whom.
func (f *Flow) missing(seen []string) string {
	var expected []string
	for i := range f.Reactions {
		if r := &f.Reactions[i]; f.expects(r, seen) {
			expected = append(expected, strings.Join(r.Emits, " or ")+" from "+r.Service)
		}
	}
	if len(expected) > 0 {
		return "expects " + strings.Join(expected, "; ")
	}
	ends := f.Completes
	if f.Compensates != "" {
		ends = "neither " + f.Completes + " nor " + f.Compensates
	} else {
		ends = "no " + ends
	}
	return ends + " came, and no reaction is outstanding that would lead to it"
}

// expects reports whether a reaction has what it takes and has emitted nothing. One that its undo may
// have come before, or that undoes what is not known to be done, may rightly stay silent.
func (f *Flow) expects(r *Reaction, seen []string) bool {
	if len(r.Emits) == 0 || !r.fires(seen) || r.emitted(seen) {
		return false
	}
	for i := range f.Reactions {
		other := &f.Reactions[i]
		if other.Service != r.Service {
			continue
		}
		if other.Undoes == r.Name && other.fires(seen) || r.Undoes == other.Name && !other.emitted(seen) {
			return false
		}
	}
	return true
}

func (r *Reaction) fires(seen []string) bool {
	has := func(event string) bool { return slices.Contains(seen, event) }
	if r.All {
		return !slices.ContainsFunc(r.On, func(event string) bool { return !has(event) })
	}
	return slices.ContainsFunc(r.On, has)
}

func (r *Reaction) emitted(seen []string) bool {
	return slices.ContainsFunc(r.Emits, func(event string) bool { return slices.Contains(seen, event) })
}

func (s *follower) record(event, what, detail string) {
	s.course.Entries++
	s.records = append(s.records, Record{s.course.Entries, event, what, detail})
}
