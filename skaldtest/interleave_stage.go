package skaldtest

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"time"

	"github.com/skald-go/skald"
	"github.com/skald-go/skald/inbox"
	"github.com/skald-go/skald/saga"
	"github.com/skald-go/skald/service"
)

// stage is a scene that was set up: it can be put into any instant of it.
type stage struct {
	ctx     context.Context
	config  Interleaving
	logger  *slog.Logger
	players []*player
	given   []given
	cues    []cue
	rules   []rule
	faults  []error
	// refusals are codes with which a step may be refused: one that ends its saga, and one after which that starts again.
	refusals map[stepName][]string
	record   recorder
	opening  *instant
	at       *instant // where the batch under way began
	refuse   string   // the code with which the next handler refuses; empty for none
	refused  bool     // it has
	came     uint64   // a bit for each cue that has come in any course
	batches  int

	// Set by this package's own tests, to break what is played.
	wrapStore func(service.Store) service.Store
	longest   int // see maxCourse
}

type stepName struct{ saga, step string }

// player is one service, and its database.
type player struct {
	index   int
	name    string
	store   *Store
	service *service.Service
	stepper *inbox.Stepper
	at      *Backup  // what the store holds; nil when it has changed since
	pick    skald.ID // the held message that is due
}

// century is a span of time that never passes by itself.
const century = 100 * 365 * 24 * time.Hour

// maxCues is how many cues an instant has bits for.
const maxCues = 64

func (s *stage) addService(name string) *service.Service {
	p := &player{index: len(s.players), name: name, store: NewStore()}
	var store service.Store = picky{p.store, p}
	if s.wrapStore != nil {
		store = s.wrapStore(store)
	}
	var err error
	p.service, err = service.New(name, store, NewBroker(BrokerConfig{Partitions: 1}), service.Config{
		Logger: s.logger, LeaseTTL: century, InboxRetention: 2 * century,
	})
	if err != nil { // what it is registered with must be there all the same
		panic(fmt.Sprintf("skaldtest: service %q: %v", name, err))
	}
	p.service.SagaEngine().Watch(s.local)
	s.players = append(s.players, p)
	return p.service
}

// picky is a store of which one held message alone is due: the one that was picked.
type picky struct {
	*Store
	player *player
}

// DueHeld implements [inbox.HeldStore].
func (p picky) DueHeld(ctx context.Context, group string, now time.Time, _ int) ([]inbox.Held, error) {
	due, err := p.Store.DueHeld(ctx, group, now, 1000)
	return slices.DeleteFunc(due, func(h inbox.Held) bool { return h.Message.ID != p.player.pick }), err
}

func (s *stage) open() error {
	s.refusals = map[stepName][]string{}
	for _, p := range s.players {
		if err := s.openPlayer(p); err != nil {
			return err
		}
	}
	if len(s.cues) > maxCues {
		s.faults = append(s.faults, fmt.Errorf("skaldtest: %d things come from outside: at most %d", len(s.cues), maxCues))
	}
	for _, c := range s.cues {
		if s.player(c.service) == nil {
			s.faults = append(s.faults, fmt.Errorf("skaldtest: %q is to happen in service %q, and the scene has none of this name", c.what, c.service))
		}
	}
	for _, g := range s.given {
		p := s.player(g.service)
		if p == nil {
			s.faults = append(s.faults, fmt.Errorf("skaldtest: the scene has no service %q to be given data", g.service))
			continue
		}
		tx, err := p.store.BeginTx(s.ctx)
		if err != nil {
			return err
		}
		g.write(tx)
		if err := tx.Commit(); err != nil {
			return err
		}
	}
	for _, p := range s.players {
		p.store.recorder = &s.record
	}
	s.opening = s.first()
	return errors.Join(s.faults...)
}

func (s *stage) openPlayer(p *player) (err error) {
	if p.stepper, err = p.service.Stepper(s.ctx); err != nil {
		return err
	}
	p.stepper.Around(s.handler)
	descriptions, err := p.service.SagaEngine().Descriptions()
	for _, d := range descriptions {
		for i := range d.Steps {
			if step := &d.Steps[i]; step.Class != saga.ClassRetriable {
				s.refusals[stepName{d.Name, step.Name}] = consequences(&step.Do)
			}
		}
	}
	return err
}

// consequences are the first code of a command that ends its saga, and the first after which that starts again.
func consequences(do *saga.DescribedAction) []string {
	var codes []string
	for _, again := range []bool{false, true} {
		i := slices.IndexFunc(do.Refusals, func(code string) bool { return slices.Contains(do.Again, code) == again })
		if i >= 0 {
			codes = append(codes, do.Refusals[i])
		}
	}
	return codes
}

func (s *stage) close() {
	for _, p := range s.players {
		if p.stepper != nil {
			p.stepper.Close()
		}
	}
}

func (s *stage) player(name string) *player {
	for _, p := range s.players {
		if p.name == name {
			return p
		}
	}
	return nil
}

// handler stands around every handler.
func (s *stage) handler(requests []*inbox.Request, run func() error) error {
	m := requests[0].Message
	id, _ := skald.ParseID(m.Headers.Get(skald.HeaderSaga))
	if m.Kind == skald.KindCommand && s.refuse != "" {
		requests[0].Settle(nil, skald.Refuse(s.refuse, "chosen by the interleaving"))
		s.refused = true
		return nil
	}
	round := 0
	if c := s.at.cast(id); c != nil {
		round = c.round
	}
	defer s.enter(id, round, named(m), m.Headers.Get(skald.HeaderStep), m.Headers.Get(skald.HeaderAction))()
	return run()
}

// local stands around every local step.
func (s *stage) local(_ context.Context, _ skald.Tx, l saga.LocalCall) error {
	if l.Run == nil {
		return fmt.Errorf("skaldtest: local step %q of saga %q takes another transaction than a *skaldtest.Tx", l.Step, l.Saga)
	}
	action := skald.ActionDo
	if l.Undo {
		action = skald.ActionUndo
	}
	defer s.enter(l.ID, l.Round, "", l.Step, action)()
	return l.Run()
}

// enter says who reads and writes until the returned function is called.
func (s *stage) enter(id skald.ID, round int, who, step, action string) (leave func()) {
	before := s.record.doing
	s.record.doing = doing{id, Operation{Saga: who, Step: step, Action: action, Round: round}}
	return func() { s.record.doing = before }
}

// cast is a saga that was started.
type cast struct {
	id skald.ID
	// name is the same in every course; root is that of the saga that it is a child of, or its own.
	name, root string
	player     int
	round      int
	record     *saga.Record
}

// readSagas lists the sagas of all services after one of them has worked.
func (s *stage) readSagas(m *instant, p *player) ([]cast, error) {
	records, err := p.store.ListSagas(s.ctx, "", skald.ID{}, 1000)
	all := slices.DeleteFunc(slices.Clone(m.sagas), func(c cast) bool { return c.player == p.index })
	for i := range records {
		r := &records[i]
		name := r.Name + " " + r.Key
		for n := 2; slices.ContainsFunc(all, func(c cast) bool { return c.name == name }); n++ {
			name = r.Name + " " + r.Key + " #" + strconv.Itoa(n)
		}
		all = append(all, cast{id: r.ID, name: name, root: name, player: p.index, record: r})
	}
	slices.SortFunc(all, func(a, b cast) int { return compareIDs(a.id, b.id) })
	for i := range all {
		c := &all[i]
		progress := progressOf(c.record)
		c.round = progress.Round
		for j := range all[:i] { // a parent is older
			if all[j].id == progress.Family.Parent.Saga {
				c.root, c.round = all[j].root, all[j].round
			}
		}
	}
	return all, err
}
