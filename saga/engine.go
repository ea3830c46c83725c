package saga

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"slices"
	"strconv"
	"time"

	"github.com/skald-go/skald"
	"github.com/skald-go/skald/internal/machine"
	"github.com/skald-go/skald/internal/unit"
	"github.com/skald-go/skald/lock"
	"github.com/skald-go/skald/outbox"
)

// EngineConfig wires an engine.
type EngineConfig struct {
	Store  Store
	Outbox *outbox.Outbox
	// ReplyChannel is where participants answer.
	ReplyChannel string
	// TxType is the store's transaction type.
	TxType reflect.Type
	// Transact runs a function in the transaction of the service's next batch.
	Transact Transact
	Logger   *slog.Logger
	// Locks are the semantic locks in the store's database.
	Locks *lock.Locks
	// Optional: how many live sagas are kept in memory between batches, and how many live instances of
	// choreographies while ReadsAll.
	Cached int
	// Optional: whether this process gets all the messages of the service. The events of an instance come
	// on several channels, other than a saga's replies: where they go to several processes, each of them would keep
	// what another has changed. Defaults to never.
	ReadsAll func() bool
	// Optional: by the name of a definition, the version that starts. The others are registered so that
	// their instances go on. Defaults to the highest that a handle was registered with.
	StartVersions map[string]int
	// Optional: the clock of what is stored. Defaults to time.Now.
	Now func() time.Time
}

// Engine runs the registered sagas of one service. It has no goroutine of its own: it works
// inside the transactions of the consumer's batches. It is safe for concurrent use once
// every definition is registered.
type Engine struct {
	EngineConfig
	scripts   map[string]map[int]*script
	faults    []error
	waiters   waiters
	cache     cache[instance]
	timer     chan struct{}
	locksHere bool // a local step takes a lock, or releases one
	waiting   bool // there are live instances of versions that are not registered
	// tracked choreographies, by name and version.
	tracked map[string]map[int]*tracked
	courses cache[followed]
	around  func(ctx context.Context, tx skald.Tx, call LocalCall) error // see Watch
}

// NewEngine returns an engine without definitions.
func NewEngine(config EngineConfig) *Engine {
	if config.Now == nil {
		config.Now = time.Now
	}
	if config.ReadsAll == nil {
		config.ReadsAll = func() bool { return false }
	}
	return &Engine{
		EngineConfig: config, scripts: map[string]map[int]*script{}, timer: make(chan struct{}, 1),
		cache: cache[instance]{limit: config.Cached}, courses: cache[followed]{limit: config.Cached},
	}
}

// Host is the service that a saga is registered with.
type Host interface{ SagaEngine() *Engine }

// Register adds a definition to a service, together with other versions of it. Instances go on
// with the version that they started with; which one starts is configured apart
// ([EngineConfig.StartVersions]), and the highest if nothing is. Versions whose state has another type are
// registered by a call of their own. A faulty definition is reported by the service's Run, with every
// fault at once, before anything starts.
func Register[S any](host Host, definition Definition[S], versions ...Definition[S]) *Saga[S] {
	e := host.SagaEngine()
	registered := map[int]*script{}
	for _, d := range append([]Definition[S]{definition}, versions...) {
		s, err := compile(&d)
		if err == nil && s.name != definition.Name {
			err = fmt.Errorf("saga %q: registered as a version of %q: give them one name, or each a call of Register", s.name, definition.Name)
		}
		if err != nil {
			e.faults = append(e.faults, err)
			continue
		}
		if e.around != nil {
			s = s.surrounded(e, e.around)
		}
		e.register(s)
		registered[s.version] = s
	}
	return newHandle[S](e, definition.Name, registered)
}

func (e *Engine) register(s *script) {
	for _, child := range s.family()[1:] {
		child.implied = true
		e.add(child)
	}
	e.add(s)
}

// add adds one script. That of a child may be there already, as another's child or by itself.
func (e *Engine) add(s *script) {
	for _, actions := range []map[string]*erased{s.do, s.undo} {
		for name, a := range actions {
			s.locksHere = s.locksHere || a.locksHere()
			if a.kind == machine.Local && !e.TxType.AssignableTo(a.txType) {
				e.faults = append(e.faults, fmt.Errorf("saga %q: step %q takes a transaction of type %s, and the store's is %s", s.name, name, a.txType, e.TxType))
			}
		}
	}
	e.locksHere = e.locksHere || s.locksHere
	versions := e.scripts[s.name]
	if versions == nil {
		versions = map[int]*script{}
		e.scripts[s.name] = versions
	}
	if known := versions[s.version]; known != nil && (!known.implied && !s.implied || known.fingerprint() != s.fingerprint()) {
		e.faults = append(e.faults, fmt.Errorf("saga %q version %d: registered twice", s.name, s.version))
	}
	if versions[s.version] == nil || !s.implied {
		versions[s.version] = s
	}
}

// Check returns the faults of all registrations, and refuses a definition that was changed
// under its version number. It logs which live instances no registered version goes on with.
func (e *Engine) Check(ctx context.Context) error {
	faults := append(slices.Clone(e.faults), e.checkStartVersions()...)
	for name, versions := range e.scripts {
		for version, s := range versions {
			stored, err := e.Store.RegisterDefinition(ctx, name, version, s.fingerprint())
			if err != nil {
				return fmt.Errorf("saga %q version %d: store its fingerprint: %w", name, version, err)
			}
			if stored != s.fingerprint() {
				faults = append(faults, fmt.Errorf("saga %q: the definition differs from the one that was registered as version %d: raise Version, and keep the old definition registered while it has live instances", name, version))
			}
		}
	}
	return errors.Join(append(faults, e.checkTracked(ctx), e.nameUnknown(ctx))...)
}

// Handle takes a participant's reply, inside a batch. Its errors wrap [ErrUnknownReply] when the
// reply belongs to no saga of ours, and [ErrUnknownVersion] when it has to wait for another process;
// others mean "try again".
func (e *Engine) Handle(ctx context.Context, tx skald.Tx, m *skald.Message) error {
	id, answer, err := readAnswer(m)
	if err != nil {
		return err
	}
	return e.within(ctx, tx, func(s *session) error {
		return s.on(ctx, id, func(in *instance) error { return s.answer(ctx, in, answer, m) })
	})
}

// ErrUnknownReply says that a reply belongs to no saga, or answers what was never asked.
var ErrUnknownReply = errors.New("saga: reply to nothing that was asked")

// Prepare loads the sagas of a batch's replies in one statement, and notes which locks their local steps meet.
func (e *Engine) Prepare(ctx context.Context, tx skald.Tx, messages []*skald.Message) error {
	work := unit.From(ctx, tx)
	ids := make([]skald.ID, 0, len(messages))
	for _, m := range messages {
		if id, err := skald.ParseID(m.Headers.Get(skald.HeaderSaga)); err == nil {
			ids = append(ids, id)
		}
	}
	if work == nil || len(ids) == 0 {
		return nil
	}
	s := e.session(work)
	if err := s.preload(ctx, ids); err != nil {
		return err
	}
	if e.locksHere {
		s.locks().Want(s.ahead(messages)...)
	}
	return nil
}

func readAnswer(m *skald.Message) (skald.ID, machine.Answer, error) {
	id, err := skald.ParseID(m.Headers.Get(skald.HeaderSaga))
	if err != nil {
		return id, machine.Answer{}, fmt.Errorf("%w: header %s: %w", ErrUnknownReply, skald.HeaderSaga, err)
	}
	attempt, err := strconv.Atoi(m.Headers.Get(skald.HeaderAttempt))
	if err != nil {
		return id, machine.Answer{}, fmt.Errorf("%w: header %s: %w", ErrUnknownReply, skald.HeaderAttempt, err)
	}
	a := machine.Answer{
		Step: m.Headers.Get(skald.HeaderStep), Action: machine.Action(m.Headers.Get(skald.HeaderAction)), Attempt: attempt,
	}
	switch outcome := m.Headers.Get(skald.HeaderOutcome); outcome {
	case skald.OutcomeSuccess:
	case skald.OutcomeRefused:
		a.Refused = true
	default:
		return id, a, fmt.Errorf("%w: header %s is %q", ErrUnknownReply, skald.HeaderOutcome, outcome)
	}
	return id, a, nil
}

// within runs fn with the batch's session, or with one of its own that is written at once
// when tx is the caller's own transaction.
func (e *Engine) within(ctx context.Context, tx skald.Tx, fn func(*session) error) error {
	if work := unit.From(ctx, tx); work != nil {
		return fn(e.session(work))
	}
	work := unit.New(tx, e.Now().UTC())
	s := e.session(work)
	s.traits.cached = never // the transaction does not run again on what is stored
	if err := fn(s); err != nil {
		return err
	}
	if err := work.Flush(ctx); err != nil {
		return err
	}
	return e.Outbox.Add(ctx, tx, work.Outgoing...)
}

func never() bool { return false }

func (e *Engine) session(work *unit.Work) *session {
	return work.Part(e, func() unit.Part { return newSession(e, work) }).(*session)
}

// environment is what a local action runs in.
type environment struct {
	ctx   context.Context
	tx    skald.Tx
	id    skald.ID
	round int
	state []byte
}

func decode[S any](encoded []byte) (S, error) {
	var state S
	if err := json.Unmarshal(encoded, &state); err != nil {
		return state, fmt.Errorf("saga: decode the state: %w", err)
	}
	return state, nil
}

// changed decodes a state, lets fn change it, and encodes it.
func changed[S any](encoded []byte, fn func(*S) error) ([]byte, error) {
	state, err := decode[S](encoded)
	if err != nil {
		return nil, err
	}
	if err := fn(&state); err != nil {
		return nil, err
	}
	return encode(state)
}

func encode(state any) ([]byte, error) {
	encoded, err := json.Marshal(state)
	if err != nil {
		return nil, fmt.Errorf("saga: encode the state: %w", err)
	}
	return encoded, nil
}
