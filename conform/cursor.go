package conform

import (
	"context"
	"errors"
	"time"

	"github.com/skald-go/skald"
	"github.com/skald-go/skald/relay"
)

var cursorCases = []storeCase{
	{"positions rise strictly", func(s store) {
		for range 5 {
			s.add(messages("k", 3)...)
		}
		before := relay.Position{}
		for _, r := range s.outbox(relay.Position{}) {
			if !before.Before(r.Position) {
				s.broken("position %v comes behind %v", r.Position, before)
			}
			before = r.Position
		}
	}},
	{"a record says when it was added", func(s store) {
		s.add(message("k"))
		if at := s.outbox(relay.Position{})[0].AddedAt; at.Before(now().Add(-time.Minute)) || at.After(soon()) {
			s.broken("a message added just now was added at %s", at)
		}
	}},
	{"a cursor reads what is behind its position, and no more than the limit", func(s store) {
		want := messages("k", 7)
		s.add(want...)
		all := s.outbox(relay.Position{})
		cursor := s.open(all[2].Position)
		var got []skald.ID
		for _, n := range []int{1, 3} {
			records, err := cursor.Next(s.patient(), n)
			s.must(err, "read")
			if len(records) == 0 || len(records) > n {
				s.broken("%d records were read with a limit of %d", len(records), n)
			}
			for _, r := range records {
				got = append(got, r.Message.ID)
			}
		}
		for i := range got {
			if got[i] != want[3+i].ID {
				s.broken("behind the third message it read %v, and should %v", got, ids(want[3:]))
			}
		}
	}},
	{"two cursors read independently", func(s store) {
		if s.LogOnly {
			return
		}
		want := messages("k", 3)
		s.add(want...)
		for _, c := range []relay.Cursor{s.open(relay.Position{}), s.open(relay.Position{})} {
			same(s.checker, "read", s.readN(c, 3), ids(want))
		}
	}},
	{"a cursor that waits wakes up when a user's transaction commits", func(s store) {
		s.wakes(func(m skald.Message) { s.add(m) })
	}},
	{"a cursor that waits wakes up when a batch commits", func(s store) {
		s.wakes(func(m skald.Message) {
			s.batch(func(tx skald.Tx) error { return s.Store.AddMessages(s.Context(), tx, []skald.Message{m}) })
		})
	}},
	{"a cursor blocks until its context ends", func(s store) {
		cursor := s.open(relay.Position{})
		ctx, cancel := context.WithTimeout(s.Context(), 100*time.Millisecond)
		defer cancel()
		records, err := cursor.Next(ctx, 10)
		if len(records) != 0 || !errors.Is(err, context.DeadlineExceeded) {
			s.broken("an empty outbox gave %d records and the error %v", len(records), err)
		}
	}},
	{"a cursor does not read what is not committed", func(s store) {
		b, want := s.begin(), messages("k", 1)
		s.must(s.Store.AddMessages(s.Context(), b.Tx(), want), "add a message")
		ctx, cancel := context.WithTimeout(s.Context(), 100*time.Millisecond)
		defer cancel()
		if records, err := s.open(relay.Position{}).Next(ctx, 10); err == nil {
			s.broken("it read %d messages of an open transaction", len(records))
		}
		s.must(b.Commit(s.Context()), "commit")
		same(s.checker, "read after the commit", s.readN(s.open(relay.Position{}), 1), ids(want))
	}},
	{"a cursor reads on through gaps that rolled-back transactions leave", func(s store) {
		cursor := s.open(relay.Position{})
		for range 3 {
			b := s.begin()
			s.must(s.Store.AddMessages(s.Context(), b.Tx(), messages("k", 2)), "add messages")
			s.must(b.Rollback(), "roll back")
			want := messages("k", 2)
			s.add(want...)
			same(s.checker, "read", s.readN(cursor, 2), ids(want))
		}
	}},
	{"a large backlog is read completely, in order", func(s store) {
		want := messages("k", 3000)
		for i := 0; i < len(want); i += 500 {
			s.add(want[i : i+500]...)
		}
		s.outboxHas(want)
	}},
}

func (s store) open(after relay.Position) relay.Cursor {
	s.Helper()
	cursor, err := s.Store.OpenOutbox(s.Context(), after)
	s.must(err, "open the outbox")
	s.Cleanup(func() { _ = cursor.Close() })
	return cursor
}

func (s store) readN(cursor relay.Cursor, n int) []skald.ID {
	s.Helper()
	var got []skald.ID
	for ctx := s.patient(); len(got) < n; {
		records, err := cursor.Next(ctx, 10)
		s.must(err, "read")
		for _, r := range records {
			got = append(got, r.Message.ID)
		}
	}
	return got
}

func (s store) wakes(add func(m skald.Message)) {
	s.Helper()
	cursor, ctx, want := s.open(relay.Position{}), s.patient(), message("k")
	read := make(chan []relay.Record, 1)
	go func() {
		records, _ := cursor.Next(ctx, 10)
		read <- records
	}()
	s.pause(50 * time.Millisecond)
	select {
	case records := <-read:
		s.broken("an empty outbox gave %v at once", records)
	default:
	}
	add(want)
	records := await(s.checker, "the wait", read)
	if len(records) != 1 || records[0].Message.ID != want.ID {
		s.broken("it woke up with %v", records)
	}
}
