package lock_test

import (
	"context"
	"errors"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/skald-go/skald"
	"github.com/skald-go/skald/internal/unit"
	"github.com/skald-go/skald/lock"
	"github.com/skald-go/skald/skaldtest"
)

var key = lock.Key{Resource: "test.account", Key: "1"}

// saga is one of that age: the smaller, the older.
func saga(age byte, round int) lock.Owner { return lock.Owner{Root: skald.ID{15: age}, Round: round} }

func row(o lock.Owner, step string) lock.Row {
	return lock.Row{Key: key, Owner: o, Saga: o.Root, Name: "test", Step: step}
}

func waiting(o lock.Owner, step string, message byte) lock.Row {
	r := row(o, step)
	r.Group, r.Message = "g", skald.ID{0: 1, 15: message}
	return r
}

// on runs fn on a unit of work that is written and committed.
func on(t *testing.T, store *skaldtest.Store, fn func(s *lock.Share)) {
	t.Helper()
	onto(t, store, fn)
}

func onto(t testing.TB, store database, fn func(s *lock.Share)) {
	t.Helper()
	tx, err := store.BeginTx(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	work := unit.New(tx, time.Now())
	fn(lock.New(store, nil).In(work))
	if err := errors.Join(work.Flush(t.Context()), tx.Commit()); err != nil {
		t.Fatal(err)
	}
}

// database is a store whose transactions a test begins.
type database interface {
	lock.Store
	BeginTx(ctx context.Context) (*skaldtest.Tx, error)
}

func ask(t *testing.T, s *lock.Share, o lock.Owner, policy lock.Policy) lock.Verdict {
	t.Helper()
	verdict, _, err := s.Ask(t.Context(), key, o, policy)
	if err != nil {
		t.Fatal(err)
	}
	return verdict
}

func take(t *testing.T, s *lock.Share, r lock.Row) {
	t.Helper()
	if err := s.Take(r); err != nil {
		t.Fatal(err)
	}
}

// ages are those of who is in the queue, in order.
func ages(t *testing.T, store *skaldtest.Store) []byte {
	t.Helper()
	rows, err := store.ListLocks(t.Context(), "", lock.Key{}, 10)
	if err != nil {
		t.Fatal(err)
	}
	var list []byte
	for _, r := range rows {
		list = append(list, r.Root[15])
	}
	return list
}

func TestWhoMayWait(t *testing.T) {
	for _, c := range []struct {
		queue  []byte // ages, the holder first
		age    byte
		policy lock.Policy
		want   lock.Verdict
	}{
		{nil, 5, lock.Wait, lock.Granted},
		{nil, 5, lock.Refuse, lock.Granted},
		{nil, 5, lock.Reserve, lock.Granted},
		{[]byte{5}, 5, lock.Wait, lock.Granted},
		{[]byte{5}, 5, lock.Refuse, lock.Granted},
		{[]byte{7}, 5, lock.Wait, lock.Waiting},
		{[]byte{3}, 5, lock.Wait, lock.Died},
		{[]byte{7, 6}, 5, lock.Wait, lock.Waiting},
		{[]byte{7, 3}, 5, lock.Wait, lock.Died}, // older than the holder only
		{[]byte{7, 5, 3}, 5, lock.Wait, lock.Waiting},
		{[]byte{3, 5}, 5, lock.Wait, lock.Died},
		{[]byte{7}, 5, lock.Refuse, lock.Refused},
		{[]byte{3, 1}, 5, lock.Reserve, lock.Waiting},
	} {
		store := skaldtest.NewStore()
		on(t, store, func(s *lock.Share) {
			ask(t, s, saga(c.age, 0), c.policy)
			for _, age := range c.queue {
				s.Join(row(saga(age, 0), ""))
			}
			if got := ask(t, s, saga(c.age, 0), c.policy); got != c.want {
				t.Errorf("%d (%s) at %v: %d, want %d", c.age, c.policy, c.queue, got, c.want)
			}
		})
	}
}

func TestAReleaseIsFenced(t *testing.T) {
	for _, c := range []struct {
		name     string
		by       lock.Owner
		released bool
	}{
		{"its own", saga(5, 2), true},
		{"a later round's", saga(5, 3), true},
		{"an earlier round's", saga(5, 1), false},
		{"another saga's", saga(4, 2), false},
		{"an operator's", saga(5, math.MaxInt), true},
	} {
		store := skaldtest.NewStore()
		on(t, store, func(s *lock.Share) {
			ask(t, s, saga(5, 1), lock.Wait)
			s.Keep(row(saga(5, 1), ""))
			take(t, s, row(saga(5, 2), "hold"))
		})
		on(t, store, func(s *lock.Share) {
			if _, err := s.Leave(t.Context(), key, saga(c.by.Root[15], 1)); err != nil {
				t.Fatal(err)
			}
			released, err := s.Release(t.Context(), key, c.by)
			if released != c.released || err != nil {
				t.Errorf("%s: %t, %v", c.name, released, err)
			}
			if again, err := s.Release(t.Context(), key, c.by); again || err != nil {
				t.Errorf("%s: again %t, %v", c.name, again, err)
			}
		})
		if left := ages(t, store); (len(left) == 0) != c.released {
			t.Errorf("%s: left %v", c.name, left)
		}
	}
}

// The branches of a saga may be under one lock, and are undone in any order.
func TestALockIsHeldUntilTheLastUndo(t *testing.T) {
	store := skaldtest.NewStore()
	on(t, store, func(s *lock.Share) {
		ask(t, s, saga(5, 0), lock.Wait)
		take(t, s, row(saga(5, 0), "one"))
		take(t, s, row(saga(5, 0), "other"))
	})
	for _, left := range []int{1, 0, 0} {
		on(t, store, func(s *lock.Share) {
			for _, step := range []string{"one", "third"} { // no do of these waits
				if err := s.Withdraw(t.Context(), key, saga(5, 0), saga(5, 0).Root, step); err != nil {
					t.Fatal(err)
				}
			}
			if _, err := s.Leave(t.Context(), key, saga(5, 0)); err != nil {
				t.Fatal(err)
			}
		})
		if got := ages(t, store); len(got) != left {
			t.Errorf("%v in the queue, want %d", got, left)
		}
	}
}

func TestTheNextInTheQueueHasTheLock(t *testing.T) {
	store := skaldtest.NewStore()
	on(t, store, func(s *lock.Share) {
		ask(t, s, saga(5, 0), lock.Wait)
		take(t, s, row(saga(5, 0), "hold"))
		s.Join(waiting(saga(4, 0), "hold", 1))
		s.Join(waiting(saga(3, 0), "hold", 2))
		s.Join(waiting(saga(3, 0), "twice", 3))
	})
	on(t, store, func(s *lock.Share) {
		if _, err := s.Release(t.Context(), key, saga(5, 0)); err != nil {
			t.Fatal(err)
		}
		if a, b, c := ask(t, s, saga(4, 0), lock.Wait), ask(t, s, saga(3, 0), lock.Wait), ask(t, s, saga(5, 0), lock.Wait); a != lock.Granted || b != lock.Waiting || c != lock.Died {
			t.Errorf("after the release: %d, %d, %d", a, b, c)
		}
	})
	if got := ages(t, store); !slices.Equal(got, []byte{4, 3}) {
		t.Errorf("the queue is %v", got)
	}
	on(t, store, func(s *lock.Share) {
		if err := s.Sweep(t.Context(), saga(4, 0)); err != nil {
			t.Fatal(err)
		}
		if err := s.Abandon(t.Context(), key, saga(3, 0), skald.ID{0: 1, 15: 9}); err != nil {
			t.Fatal(err)
		}
	})
	if got := ages(t, store); !slices.Equal(got, []byte{3}) {
		t.Errorf("the queue is %v", got)
	}
	on(t, store, func(s *lock.Share) {
		if err := s.Abandon(t.Context(), key, saga(3, 0), skald.ID{0: 1, 15: 2}); err != nil {
			t.Fatal(err)
		}
	})
	if got := ages(t, store); len(got) > 0 {
		t.Errorf("the queue is %v", got)
	}
}

func TestWhatAMessageChangedIsForgottenWithIt(t *testing.T) {
	store := skaldtest.NewStore()
	on(t, store, func(s *lock.Share) {
		ask(t, s, saga(5, 0), lock.Wait)
		take(t, s, row(saga(5, 0), "hold"))
	})
	on(t, store, func(s *lock.Share) {
		ask(t, s, saga(4, 0), lock.Wait)
		s.Join(row(saga(4, 0), "hold"))
		s.Mark()
		if _, err := s.Release(t.Context(), key, saga(5, 0)); err != nil {
			t.Fatal(err)
		}
		s.Join(row(saga(3, 0), "hold"))
		s.Reset()
		undo := s.Checkpoint()
		s.Join(row(saga(2, 0), "hold"))
		undo()
	})
	if got := ages(t, store); !slices.Equal(got, []byte{5, 4}) {
		t.Errorf("the queue is %v", got)
	}
}

// counting counts how often each queue is locked.
type counting struct {
	*skaldtest.Store
	locked map[lock.Key]int
}

func (s counting) LockQueues(ctx context.Context, tx skald.Tx, keys []lock.Key) ([]lock.Row, error) {
	for _, k := range keys {
		s.locked[k]++
	}
	return s.Store.LockQueues(ctx, tx, keys)
}

// A database may give up with a savepoint what was locked since.
func TestAQueueThatAMessageHadLockedIsLockedAgainByTheNext(t *testing.T) {
	store := counting{skaldtest.NewStore(), map[lock.Key]int{}}
	tx, err := store.BeginTx(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	work := unit.New(tx, time.Now())
	locks := lock.New(store, nil)
	free := func(k lock.Key) {
		t.Helper()
		if err := locks.Free(unit.With(t.Context(), work), tx, k.Resource, k.Key); err != nil {
			t.Error(err)
		}
	}
	before, since := lock.Key{Resource: "test.account", Key: "before"}, lock.Key{Resource: "test.account", Key: "since"}
	free(before)
	mark := work.Mark()
	free(before)
	free(since)
	free(since)
	work.Reset(mark)
	work.Mark()
	free(before)
	free(since)
	if store.locked[before] != 1 || store.locked[since] != 2 {
		t.Errorf("queues were locked so often: %v", store.locked)
	}
}

func TestAReservationIsNoSteps(t *testing.T) {
	store := skaldtest.NewStore()
	withdraw := func(step string) []byte {
		on(t, store, func(s *lock.Share) {
			if err := s.Withdraw(t.Context(), key, saga(5, 1), saga(5, 1).Root, step); err != nil {
				t.Fatal(err)
			}
		})
		return ages(t, store)
	}
	on(t, store, func(s *lock.Share) {
		ask(t, s, saga(5, 1), lock.Reserve)
		s.Keep(row(saga(5, 1), ""))
	})
	if len(withdraw("hold")) == 0 {
		t.Error("a step that has not landed released the reservation")
	}
	on(t, store, func(s *lock.Share) {
		if _, err := s.Release(t.Context(), key, saga(5, 1)); err != nil {
			t.Fatal(err)
		}
		s.Keep(row(saga(5, 1), "hold")) // the claim of a local step that has not run
	})
	if len(withdraw("hold again")) == 0 || len(withdraw("hold")) > 0 {
		t.Error("a step that has not run did not release its claim, and that only")
	}
}

func TestAClaimIsReadAsItWasWritten(t *testing.T) {
	id, root := skald.NewID(), skald.NewID()
	for _, c := range []lock.Claim{
		{Owner: lock.Owner{Root: id}, Saga: id, Step: "hold", Policy: lock.Wait},
		{Owner: lock.Owner{Root: root, Round: 7}, Saga: id, Name: "test", Step: "hold", Policy: lock.Refuse},
	} {
		var m skald.Message
		m.Headers.Set(skald.HeaderSaga, c.Saga.String())
		m.Headers.Set(skald.HeaderStep, c.Step)
		c.Put(&m.Headers)
		if got, err := lock.ClaimOf(&m); got != c || err != nil {
			t.Errorf("%+v became %+v, %v", c, got, err)
		}
	}
	for name, bad := range map[string]skald.Headers{
		"a lock belongs to a saga": nil,
		"header sagaid":            {{Name: skald.HeaderSaga, Value: "x"}},
		"header sagaroot":          {{Name: skald.HeaderSaga, Value: id.String()}, {Name: skald.HeaderRoot, Value: "x"}},
		"header sagaround":         {{Name: skald.HeaderSaga, Value: id.String()}, {Name: skald.HeaderRound, Value: "-1"}},
		`"never" is no policy`:     {{Name: skald.HeaderSaga, Value: id.String()}, {Name: skald.HeaderLocked, Value: "never"}},
		`"reserve" is no policy`:   {{Name: skald.HeaderSaga, Value: id.String()}, {Name: skald.HeaderLocked, Value: "reserve"}},
	} {
		if _, err := lock.ClaimOf(&skald.Message{Headers: bad}); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("want %q in %v", name, err)
		}
	}
}

func TestNobodyForcesALockOutsideOfABatch(t *testing.T) {
	store := skaldtest.NewStore()
	tx, err := store.BeginTx(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = tx.Rollback() }()
	if _, err := lock.New(store, nil).Force(t.Context(), tx, key, skald.NewID()); err == nil {
		t.Error("forced")
	}
}

// lookingStore notes how many queues were looked at each time.
type lookingStore struct {
	*skaldtest.Store
	looks []int
}

func (s *lookingStore) LockQueues(ctx context.Context, tx skald.Tx, keys []lock.Key) ([]lock.Row, error) {
	s.looks = append(s.looks, len(keys))
	return s.Store.LockQueues(ctx, tx, keys)
}

func TestWhatIsWantedIsLookedAtTogetherAndOnce(t *testing.T) {
	store := &lookingStore{Store: skaldtest.NewStore()}
	tx, err := store.BeginTx(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	s := lock.New(store, nil).In(unit.New(tx, time.Now()))
	other := lock.Key{Resource: key.Resource, Key: "2"}
	s.Want(other, key, other)
	if len(store.looks) > 0 {
		t.Error("it was looked at before anybody asked")
	}
	for _, k := range []lock.Key{key, other, key} {
		if verdict, _, err := s.Ask(t.Context(), k, saga(1, 0), lock.Wait); verdict != lock.Granted || err != nil {
			t.Errorf("%s: %d, %v", k, verdict, err)
		}
	}
	s.Want(key)
	if missing := s.Missing([]lock.Key{other}); len(missing) > 0 || !slices.Equal(store.looks, []int{2}) {
		t.Errorf("looks at %d, missing %v", store.looks, missing)
	}
}

func TestAContextKeepsWhatItWasToldIsAhead(t *testing.T) {
	other := lock.Key{Resource: key.Resource, Key: "2"}
	one := lock.Ahead(t.Context(), key)
	two, three := lock.Ahead(one, other), lock.Ahead(one)
	for _, c := range []struct {
		got, want []lock.Key
	}{{lock.AheadIn(t.Context()), nil}, {lock.AheadIn(one), []lock.Key{key}}, {lock.AheadIn(two), []lock.Key{key, other}}, {lock.AheadIn(three), []lock.Key{key}}} {
		if !slices.Equal(c.got, c.want) {
			t.Errorf("%v, want %v", c.got, c.want)
		}
	}
}
