package service_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/skald-go/skald"
	"github.com/skald-go/skald/saga"
	"github.com/skald-go/skald/skaldtest"
)

// TestWhateverGoesWrongEverySagaEndsAndNothingIsLost lets handlers fail, panic, hang and break
// their batches, commits fail with and without effect, the broker reject, lose, repeat and
// forget, instances hand over, and services crash. What goes wrong is drawn from a seed; handlers
// draw in the order in which they run.
func TestWhateverGoesWrongEverySagaEndsAndNothingIsLost(t *testing.T) {
	const seeds, orders = 15, 30
	for seed := range uint64(seeds) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			random := rand.New(rand.NewPCG(seed, 1))
			inShop(t, func(s *shop) {
				s.syncInterval = time.Duration(random.IntN(2)) * 5 * time.Second
				s.bar = time.Duration(random.IntN(2)) * 20 * time.Second
				s.deadline = time.Duration(random.IntN(2)) * 15 * time.Second
				s.config.HandlerTimeout = time.Second
				s.config.BatchSize = random.IntN(2) * 3
			}, func(s *shop) { s.chaos(random, orders) })
		})
	}
}

func (s *shop) chaos(random *rand.Rand, orders int) {
	names := []string{"order", "kitchen", "accounting"}
	for _, name := range names {
		if random.IntN(2) == 0 {
			s.stores[name].ExpensiveSavepoints()
		}
	}
	calm := false
	if random.IntN(2) == 0 {
		standby := s.running["kitchen"]
		s.stores["kitchen"] = s.stores["kitchen"].Connect()
		s.start("kitchen")
		defer func() {
			standby.stop()
			if err := <-standby.ended; err != nil {
				s.t.Error(err)
			}
		}()
	}
	for _, kind := range []string{createTicket.Name, rejectTicket.Name, authorize.Name, confirmTicket.Name, orderPlaced.Name} {
		s.on(kind, func(ctx context.Context, tx *skaldtest.Tx) error {
			s.mu.Lock()
			dice := random.IntN(60)
			if calm {
				dice = 60
			}
			s.mu.Unlock()
			switch dice {
			case 0, 1, 2, 3, 4:
				return errors.New("not now")
			case 5:
				panic("no luck")
			case 6:
				return tx.Rollback()
			case 7:
				<-ctx.Done()
				return ctx.Err()
			case 8:
				return slowly(2500*time.Millisecond)(context.WithoutCancel(ctx), tx)
			default:
				return nil
			}
		})
	}
	placed := map[string]bool{}
	var numbers [3]int
	for n := range orders {
		s.mu.Lock()
		dice, name, wait := random.IntN(12), names[random.IntN(3)], time.Duration(random.IntN(2000))*time.Millisecond
		s.mu.Unlock()
		switch dice {
		case 0, 1:
			s.stores[name].FailCommits(1+int(wait)%2, wait%3 == 0)
		case 2:
			s.crash(name)
			s.start(name)
		case 3:
			s.broker.CutPublish(int(wait) % 3)
		case 4:
			s.broker.Restart()
		case 5:
			s.broker.Crash()
		case 6:
			s.broker.Wipe()
		case 7:
			s.broker.Repeat(int(wait) % 3)
		case 8:
			s.stop(name)
			s.start(name)
		case 9:
			s.broker.RejectIf(func(m *skald.Message) error {
				if m.ID[15]%8 == byte(n)%8 {
					return errTooLarge
				}
				return nil
			})
		case 10:
			s.broker.RejectIf(nil)
		}
		order := fmt.Sprint("o", n)
		placed[order] = true
		s.mustPlace(order, 1, 500+n%4/3*5000)
		s.emit(fmt.Sprint(n%3), numbers[n%3])
		numbers[n%3]++
		s.pass(wait)
	}
	s.mu.Lock()
	calm = true
	s.mu.Unlock()
	s.broker.RejectIf(nil)
	s.pass(2 * time.Hour)
	for order := range placed {
		if o := s.outcome(order); !o.Status.Ended() {
			s.t.Errorf("saga of order %s is %s (%s); history: %v", order, o.Status, o.Reason, s.history(order))
		} else if o.Status == saga.Completed {
			s.approved(order)
		} else {
			s.rejected(order)
			if ticket, _ := s.stores["kitchen"].Get("tickets", order); ticket != "rejected" && ticket != "" {
				s.t.Errorf("order %s was rejected, and its ticket is %s", order, ticket)
			}
		}
	}
	for key, n := range numbers {
		want := ""
		for i := range n {
			want += fmt.Sprint(i, " ")
		}
		s.expect("kitchen", "seen", fmt.Sprint(key), want)
	}
	s.nothingHeld()
}
