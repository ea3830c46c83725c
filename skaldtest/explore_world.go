package skaldtest

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/skald-go/skald"
	"github.com/skald-go/skald/inbox"
	"github.com/skald-go/skald/outbox"
	"github.com/skald-go/skald/saga"
)

// world is a saga's service and its participants, each with its twin of a database and the
// shipped inbox. It can be put into any moment of an exploration.
type world struct {
	ctx         context.Context
	config      exploreConfig
	description *saga.Description
	steps       map[string]*exploredStep
	home        *node
	nodes       []*node         // home first
	atHome      map[string]bool // channels that the saga's own service reads
	engine      *saga.Engine
	start       func(ctx context.Context, tx skald.Tx) error
	cancel      func(ctx context.Context, tx skald.Tx) error

	// What the handlers are to do, and which of them were called, in the batch under way.
	choice choice
	called []call

	batches int
}

// node is one service: the saga's own, or a participant that reads one channel.
type node struct {
	index    int
	name     string
	store    *Store
	consumer *inbox.Consumer
	stepper  *inbox.Stepper
	at       *Backup // what the store holds; nil when it has changed since
}

// exploredStep is a step of the saga, or of one of its children.
type exploredStep struct {
	*saga.DescribedStep
	of *saga.Description
}

// name lists the steps by name.
func (w *world) name() error {
	w.steps = map[string]*exploredStep{}
	total := 0
	for _, d := range w.sagas() {
		total += len(d.Steps)
		for i := range d.Steps {
			w.steps[d.Steps[i].Name] = &exploredStep{&d.Steps[i], d}
		}
	}
	if total > MaxExploredSteps {
		return fmt.Errorf("%d steps: at most %d can be explored, those of children included", total, MaxExploredSteps)
	}
	if len(w.steps) < total {
		return errors.New("a child has a step of the same name as another saga: the exploration tells steps by their names")
	}
	for _, name := range w.config.leaves {
		if w.steps[name] == nil {
			return fmt.Errorf("step %q is said to leave effects, and there is no such step", name)
		}
	}
	for _, s := range w.config.signals {
		if step := w.steps[s.step]; step == nil || !step.Do.Wait {
			return fmt.Errorf("a signal is given for step %q, and there is no such step that waits", s.step)
		}
	}
	for _, step := range w.steps {
		if step.Do.Wait {
			w.config.signals = append(w.config.signals, signal{step.Name, step.Do.Content})
		}
	}
	w.findHome()
	slices.SortStableFunc(w.config.signals, func(a, b signal) int { return cmp.Compare(a.step, b.step) })
	return nil
}

// sagas lists the saga and its children.
func (w *world) sagas() []*saga.Description {
	return append([]*saga.Description{w.description}, w.description.Children...)
}

func (w *world) step(name string) *exploredStep {
	if s := w.steps[name]; s != nil {
		return s
	}
	return &exploredStep{&saga.DescribedStep{Name: name}, w.description}
}

// The services that the exploration makes up.
const (
	homeName    = "explored"
	homeReplies = homeName + ".replies"
)

// effectsTable keeps what was done, in the transaction that did it.
const effectsTable = "skaldtest.effects"

// choice is what the call of one action is to end with; every other lands.
type choice struct {
	call    call
	outcome string
}

// call is the call of a handler, or of a local action.
type call struct {
	step, action string
	local        bool
}

// The outcomes of a call, beside a refusal by its code.
const (
	lands   = "lands"
	fails   = "fails"
	refuses = "refuses: "
)

// errExplored is the error of a handler that fails once, to be tried again.
var errExplored = errors.New("skaldtest: the exploration makes this attempt fail")

// SagaEngine implements [saga.Host].
func (w *world) SagaEngine() *saga.Engine { return w.engine }

// build makes the services that the description names.
func (w *world) build() error {
	logger := slog.New(slog.DiscardHandler)
	if err := w.addNode(homeName, logger); err != nil {
		return err
	}
	w.home = w.nodes[0]
	box, err := outbox.New(w.home.store, homeName)
	if err != nil {
		return err
	}
	w.engine = saga.NewEngine(saga.EngineConfig{
		Store: w.home.store, Outbox: box, ReplyChannel: homeReplies, TxType: w.home.store.TxType(), Locks: w.home.consumer.Locks(), Logger: logger,
	})
	handle := w.reply
	if w.config.wrapReply != nil {
		handle = w.config.wrapReply(w.home.store, w.reply)
	}
	if err := w.home.consumer.Register(inbox.Registration{Channel: homeReplies, Handle: handle, Prepare: w.engine.Prepare}); err != nil {
		return err
	}
	if err := w.participants(logger); err != nil {
		return err
	}
	for _, n := range w.nodes {
		if n.stepper, err = n.consumer.Stepper(w.ctx); err != nil {
			return err
		}
	}
	return nil
}

// participants registers a handler for every command of the definition, at a service for
// each channel.
func (w *world) participants(logger *slog.Logger) error {
	registered := map[string]bool{}
	for _, name := range slices.Sorted(maps.Keys(w.steps)) {
		for _, a := range []*saga.DescribedAction{&w.steps[name].Do, w.steps[name].Undo} {
			if a == nil || a.Command == "" || registered[a.Channel+" "+a.Command+" "+strconv.Itoa(a.Version)] {
				continue
			}
			registered[a.Channel+" "+a.Command+" "+strconv.Itoa(a.Version)] = true
			if err := w.participant(a, logger); err != nil {
				return err
			}
		}
	}
	return nil
}

// findHome finds the channels of commands about what local steps lock: a resource is one service's, so that
// these are the saga's own service's, in the database of its sagas.
func (w *world) findHome() {
	w.atHome = map[string]bool{homeReplies: true}
	own := map[skald.Resource]bool{}
	for _, s := range w.steps {
		if s.Do.Command == "" && s.Do.Locks != "" {
			own[s.Do.Locks] = true
		}
	}
	for _, s := range w.steps {
		for _, a := range []*saga.DescribedAction{&s.Do, s.Undo} {
			if a != nil && a.Command != "" && (own[a.Locks] || own[a.Unlocks]) {
				w.atHome[a.Channel] = true
			}
		}
	}
}

func (w *world) participant(a *saga.DescribedAction, logger *slog.Logger) error {
	if w.reader(a.Channel) == nil {
		if err := w.addNode(a.Channel, logger); err != nil {
			return err
		}
	}
	return w.reader(a.Channel).consumer.Register(inbox.Registration{
		Channel: a.Channel, Type: a.Command, Version: a.Version, Locks: a.Locks, Unlocks: a.Unlocks,
		Declared: func(code string) bool { return slices.Contains(a.Refusals, code) },
		Handle: func(_ context.Context, tx skald.Tx, m *skald.Message) (any, error) {
			return a.Reply, w.participate(tx, m)
		},
	})
}

func (w *world) addNode(name string, logger *slog.Logger) error {
	n := &node{index: len(w.nodes), name: name, store: NewStore()}
	var store inbox.Store = n.store
	if w.config.wrapStore != nil {
		store = w.config.wrapStore(n.store)
	}
	var err error
	n.consumer, err = inbox.New(name, store, n.store, NewBroker(BrokerConfig{Partitions: 1}), inbox.Config{
		Logger: logger, LeaseTTL: 100 * 365 * 24 * time.Hour, MaxAttempts: exploredFailures + 1, Retention: 200 * 365 * 24 * time.Hour,
	})
	w.nodes = append(w.nodes, n)
	return err
}

// reader is the service that reads a channel.
func (w *world) reader(channel string) *node {
	if w.atHome[channel] {
		return w.home
	}
	for _, n := range w.nodes {
		if n.name == channel {
			return n
		}
	}
	return nil
}

func (w *world) close() {
	for _, n := range w.nodes {
		if n.stepper != nil {
			n.stepper.Close()
		}
	}
}

// reply hands a reply to the engine, as a service does.
func (w *world) reply(ctx context.Context, tx skald.Tx, m *skald.Message) (any, error) {
	err := w.engine.Handle(ctx, tx, m)
	if errors.Is(err, saga.ErrUnknownReply) {
		err = fmt.Errorf("%w: %w", inbox.ErrUnhandleable, err)
	}
	return nil, err
}

// participate is every participant's handler.
func (w *world) participate(tx skald.Tx, m *skald.Message) error {
	c := call{step: m.Headers.Get(skald.HeaderStep), action: m.Headers.Get(skald.HeaderAction)}
	return w.decide(tx.(*Tx), c, effect{call: c, channel: m.Channel, key: m.OrderKey(), message: m.ID}, nil)
}

// local stands around every local action.
func (w *world) local(_ context.Context, tx skald.Tx, l saga.LocalCall) error {
	c := call{step: l.Step, action: skald.ActionDo, local: true}
	if l.Undo {
		c.action = skald.ActionUndo
	}
	return w.decide(tx.(*Tx), c, effect{call: c}, l.Run)
}

// decide ends a call as chosen, and records its effect if it lands.
func (w *world) decide(tx *Tx, c call, e effect, run func() error) error {
	w.called = append(w.called, c)
	outcome := lands
	if w.choice.call == c {
		outcome = w.choice.outcome
	}
	switch outcome {
	case lands:
		if run != nil {
			if err := run(); err != nil {
				return err
			}
		}
		tx.Put(effectsTable, fmt.Sprintf("%06d", len(tx.List(effectsTable))), e.encode())
		return nil
	case fails:
		return errExplored
	default:
		return skald.Refuse(outcome[len(refuses):], "chosen by the exploration")
	}
}
