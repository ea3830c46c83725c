package lock_test

import (
	"context"
	"slices"
	"testing"

	"github.com/skald-go/skald"
	"github.com/skald-go/skald/lock"
	"github.com/skald-go/skald/skaldtest"
)

// waking notes whom it is asked to wake.
type waking struct {
	*skaldtest.Store
	woken *[]byte
}

func (s waking) WakeHeld(ctx context.Context, tx skald.Tx, group string, ids []skald.ID) error {
	for _, id := range ids {
		*s.woken = append(*s.woken, id[15])
	}
	return s.Store.WakeHeld(ctx, tx, group, ids)
}

func TestWhoHasWaitedIsWoken(t *testing.T) {
	release := func(s *lock.Share) { _, _ = s.Release(t.Context(), key, saga(5, 0)) }
	leaves := func(s *lock.Share) { _ = s.Withdraw(t.Context(), key, saga(4, 0), saga(4, 0).Root, "hold") }
	for _, c := range []struct {
		name string
		now  func(s *lock.Share)
		want []byte
	}{
		{"whose turn it is", release, []byte{1}},
		{"who waits no more", leaves, []byte{1}},
		{"behind whom a branch of its family goes first", func(s *lock.Share) {
			release(s)
			_ = s.Take(row(saga(4, 0), "other"))
		}, []byte{1}},
		{"who comes when it is its turn", func(s *lock.Share) {
			release(s)
			_ = s.Take(waiting(saga(4, 0), "hold", 1))
		}, nil},
		{"who came and went", func(s *lock.Share) {
			_, _, _ = s.Ask(t.Context(), key, saga(3, 0), lock.Wait)
			s.Join(waiting(saga(3, 0), "hold", 2))
			_ = s.Withdraw(t.Context(), key, saga(3, 0), saga(3, 0).Root, "hold")
		}, []byte{2}},
		{"of whom nothing is kept", func(s *lock.Share) {
			s.Mark()
			leaves(s)
			s.Reset()
		}, nil},
	} {
		var woken []byte
		store := waking{skaldtest.NewStore(), &woken}
		onto(t, store, func(s *lock.Share) {
			ask(t, s, saga(5, 0), lock.Wait)
			_ = s.Take(row(saga(5, 0), "hold"))
			s.Join(waiting(saga(4, 0), "hold", 1))
		})
		onto(t, store, func(s *lock.Share) {
			ask(t, s, saga(4, 0), lock.Wait)
			c.now(s)
		})
		if !slices.Equal(woken, c.want) {
			t.Errorf("%s: woken %v, want %v", c.name, woken, c.want)
		}
	}
}

func TestNobodyTakesWhatAnotherHasTakenMeanwhile(t *testing.T) {
	on(t, skaldtest.NewStore(), func(s *lock.Share) {
		for _, age := range []byte{4, 5} {
			if got := ask(t, s, saga(age, 0), lock.Wait); got != lock.Granted {
				t.Fatalf("%d: %d", age, got)
			}
		}
		if err := s.Take(row(saga(5, 0), "hold")); err != nil {
			t.Fatal(err)
		}
		if err := s.Take(row(saga(4, 0), "hold")); err == nil {
			t.Error("two have it")
		}
	})
}

func BenchmarkALongQueue(b *testing.B) {
	store := skaldtest.NewStore()
	hash := func(i int) skald.ID { return skald.ID{0: 2, 14: byte(i >> 8), 15: byte(i)} }
	onto(b, store, func(s *lock.Share) {
		_, _, _ = s.Ask(b.Context(), key, lock.Owner{Root: hash(0)}, lock.Reserve)
		for i := range 2000 {
			s.Join(lock.Row{Key: key, Owner: lock.Owner{Root: hash(i)}})
		}
	})
	for i := 0; b.Loop(); i++ {
		onto(b, store, func(s *lock.Share) {
			_, _ = s.Release(b.Context(), key, lock.Owner{Root: hash(i % 2000)})
			for j := range 100 {
				_, _, _ = s.Ask(b.Context(), key, lock.Owner{Root: hash(i + j)}, lock.Wait)
			}
			s.Join(lock.Row{Key: key, Owner: lock.Owner{Root: hash(i % 2000)}})
		})
	}
}
