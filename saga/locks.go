package saga

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"

	"github.com/skald-go/skald"
	"github.com/skald-go/skald/internal/machine"
	"github.com/skald-go/skald/internal/unit"
	"github.com/skald-go/skald/lock"
)

// Locks has the step take the semantic lock on a key of a resource that the orchestrator's own
// service owns, in its transaction.
func (l LocalAction[S]) Locks(resource skald.Resource, key func(state S) string) LocalAction[S] {
	l.a.locks, l.a.lockKey = resource, key
	l.a.contract = errors.Join(l.a.contract, checkLocal("Locks", resource, key == nil))
	return l
}

// Unlocks has the step release that lock.
func (l LocalAction[S]) Unlocks(resource skald.Resource, key func(state S) string) LocalAction[S] {
	l.a.unlocks, l.a.unlockKey = resource, key
	l.a.contract = errors.Join(l.a.contract, checkLocal("Unlocks", resource, key == nil))
	return l
}

func checkLocal(method string, resource skald.Resource, keyless bool) error {
	var faults []error
	if err := resource.Validate(); err != nil {
		faults = append(faults, fmt.Errorf("%s: resource: %w", method, err))
	}
	if keyless {
		faults = append(faults, fmt.Errorf("%s: the function is nil: give the one that names the key of %s", method, resource))
	}
	return errors.Join(faults...)
}

// Again names codes of refusal that do not end the saga: what it did is undone, and it starts again from its first
// step, with the state that it was started with. That is what to do when a value has changed since the
// saga read it. It starts again at once, and from the second time on after ever longer pauses; after ten times, over some
// half a minute, such a refusal ends it all the same.
func (c CallAction[S, R]) Again(codes ...string) CallAction[S, R] {
	c.a.again = slices.Clone(codes)
	for _, code := range codes {
		if !c.a.declared(code) {
			c.a.contract = errors.Join(c.a.contract, fmt.Errorf("command %q: Again names the code %q, which is none of its refusals %q", c.a.command, code, c.a.refusals))
		}
	}
	return c
}

// locked checks the policy of a step before the pivot's end, and whether it may start again.
func (c *compiler[S]) locked(step string, do *action[S], policy lock.Policy) {
	if do == nil {
		return
	}
	e := c.script.do[step]
	switch {
	case policy != "" && policy != lock.Wait && policy != lock.Refuse:
		c.fault("step %q: Locked is %q: choose lock.Wait or lock.Refuse", step, policy)
	case policy != "" && do.locks == "":
		c.fault("step %q: Locked says what becomes of it at another's lock, and it takes none: remove it, or declare what the step locks", step)
	case do.locks != "" && policy == "":
		e.locked = lock.Wait
	default:
		e.locked = policy
	}
	child := do.child != nil && do.child.mayDie()
	c.script.restarts = c.script.restarts || e.locked == lock.Wait || len(do.again) > 0 || child
}

// mayDie reports whether a step of the script, or of a child, may make the root start again.
func (s *script) mayDie() bool {
	return slices.ContainsFunc(s.family(), func(member *script) bool {
		for _, do := range member.do {
			if do.locks != "" && do.locked == lock.Wait {
				return true
			}
		}
		return false
	})
}

// checkUnlocked refuses a step that leaves its lock when it is undone.
func (c *compiler[S]) checkUnlocked(step string, do *action[S], undo Action[S]) {
	if undo == nil {
		c.fault("step %q: it locks %s and has no Undo: a lock marks what may be undone; give it the Undo that releases it, or remove Locks", step, do.locks)
		return
	}
	if a := undo.action(); a.unlocks != do.locks {
		c.fault("step %q: it locks %s, and its Undo does not release that: give the Undo Unlocks", step, do.locks)
	}
}

// unlocksNothing refuses a step that releases a lock while all of it may still be undone.
func (c *compiler[S]) unlocksNothing(step string, do *action[S]) {
	fix := "others would build on it; release it in the pivot, in a step behind it, and in undos"
	if do.unlocks != "" {
		c.fault("step %q: it unlocks %s, and may be undone: %s", step, do.unlocks, fix)
	}
	if do.child == nil {
		return
	}
	for _, member := range do.child.family() {
		for name, own := range member.do {
			if own.unlocks != "" {
				c.fault("step %q: step %q of its child %q unlocks %s, and may be undone by the parent: %s", step, name, member.name, own.unlocks, fix)
			}
		}
	}
}

// unlockedOnce refuses a definition that releases a resource's locks more often than it takes them: at the last one
// another saga may have the lock. An unlock under a condition does not count, and of the locks under conditions, which
// may be alternatives, all but one do.
func (c *compiler[S]) unlockedOnce() {
	surplus := map[skald.Resource]int{}
	maybe := map[skald.Resource]int{}
	last := map[skald.Resource]string{}
	takes := func(r skald.Resource, condition bool) {
		if condition {
			maybe[r]++
		} else {
			surplus[r]--
		}
	}
	for i := range c.script.machine.Steps {
		step := &c.script.machine.Steps[i]
		do := c.script.do[step.Name]
		if do == nil {
			continue
		}
		takes(do.locks, step.When)
		if do.unlocks != "" && !step.When {
			surplus[do.unlocks]++
			last[do.unlocks] = step.Name
		}
		if do.child != nil {
			for _, member := range do.child.family() {
				for i := range member.machine.Steps {
					if own := &member.machine.Steps[i]; member.do[own.Name] != nil {
						takes(member.do[own.Name].locks, step.When || own.When)
					}
				}
			}
		}
	}
	for r, step := range last {
		if surplus[r] > max(0, maybe[r]-1) {
			c.fault("step %q: it unlocks %s, which is unlocked more often than it is locked before: another saga may have it by then; remove Unlocks, have a step before the pivot lock it, or give this one the condition of the step that does", step, r)
		}
	}
}

// locksNothing refuses an action that takes a lock where none may be taken.
func (c *compiler[S]) locksNothing(step string, a *action[S], why string) {
	if a == nil {
		return
	}
	fix := "take it in a step before the pivot, or remove Locks"
	if a.locks != "" {
		c.fault("step %q: it locks %s: %s; %s", step, a.locks, why, fix)
	}
	if a.child == nil {
		return
	}
	for _, member := range a.child.family() {
		for name, do := range member.do {
			if do.locks != "" {
				c.fault("step %q: step %q of its child %q locks %s: %s; %s", step, name, member.name, do.locks, why, fix)
			}
		}
	}
}

// keyed erases the state's type of a function that names a key. It takes the state as it is, or encoded.
func keyed[S any](key func(S) string) func(any) (string, error) {
	if key == nil {
		return nil
	}
	return func(given any) (string, error) {
		state, plain := given.(S)
		if !plain {
			var err error
			if state, err = decode[S](given.(json.RawMessage)); err != nil {
				return "", err
			}
		}
		name := key(state)
		return name, checkKey(name)
	}
}

// beginning is what an instance needs to start again.
type beginning struct {
	State json.RawMessage `json:"state,omitempty"`
	// Signals by the step that waits for them.
	Signals map[string]json.RawMessage `json:"signals,omitempty"`
	// Reserved is the lock that it has reserved last.
	Reserved string `json:"reserved,omitempty"`
}

// claim is in whose name an instance locks.
func (in *instance) claim(step string, policy lock.Policy) lock.Claim {
	c := lock.Claim{Owner: lock.Owner{Root: in.record.ID, Round: in.machine.Round}, Saga: in.record.ID, Name: in.record.Name, Step: step, Policy: policy}
	if in.family.Parent != nil {
		c.Owner = lock.Owner{Root: in.family.Root, Round: in.family.Round}
	}
	return c
}

// again reports whether a refusal has the saga start again, and which lock it is to have before that. Only a root
// gives up all that it holds: a child tells its parent.
func (in *instance) again(do *erased, refusal *skald.Refusal) (again bool, wanted string) {
	if denial, ok := deniedAgain(refusal); ok {
		if in.family.Parent == nil {
			return true, string(denial)
		}
		if in.machine.Status == machine.Running && in.machine.Cancel == "" { // else it compensates for another reason
			in.family.Denial = denial
		}
		return false, ""
	}
	return do != nil && slices.Contains(do.again, refusal.Code), ""
}

// deniedAgain is the detail of a refusal by which the root of a family is to start again.
func deniedAgain(refusal *skald.Refusal) (json.RawMessage, bool) {
	var d lock.Denial
	if refusal.Code != skald.RefusedLocked && refusal.Code != RefusedCompensated || len(refusal.Detail) == 0 {
		return nil, false
	}
	return refusal.Detail, json.Unmarshal(refusal.Detail, &d) == nil && d.Again
}

// rewind gives an instance the state that it was started with, and the signals that it has had since.
func (in *instance) rewind() error {
	state := []byte(in.beginning.State)
	for i := range in.script.machine.Steps {
		step := in.script.machine.Steps[i].Name
		content, given := in.beginning.Signals[step]
		if !given {
			continue
		}
		next, err := in.script.do[step].signal(state, content)
		if _, refused := skald.AsRefusal(err); err != nil && !refused {
			return fmt.Errorf("saga %q: signal of step %q: %w", in.record.Name, step, err)
		}
		state = next
	}
	in.record.State = state
	return nil
}

// keysHere are the keys of what a local step takes and releases; of what it does not, the zero one.
type keysHere struct{ locks, unlocks lock.Key }

// list is those that there are.
func (k keysHere) list() []lock.Key {
	return slices.DeleteFunc([]lock.Key{k.unlocks, k.locks}, func(k lock.Key) bool { return k.Resource == "" })
}

// locksHere reports whether an action takes a lock in the orchestrator's own database, or releases one.
func (e *erased) locksHere() bool {
	return e != nil && e.kind == machine.Local && (e.locks != "" || e.unlocks != "")
}

// keysHere are the keys by the state before the step, which is given as it is, or encoded.
func (e *erased) keysHere(state any) (keys keysHere, err error) {
	name := func(resource skald.Resource, key func(any) (string, error)) (k lock.Key) {
		if resource == "" || err != nil {
			return k
		}
		k.Resource = resource
		if k.Key, err = key(state); err != nil {
			err = fmt.Errorf("key of %s: %w", resource, err)
		}
		return k
	}
	return keysHere{name(e.locks, e.lockKey), name(e.unlocks, e.unlockKey)}, err
}

// foreseen is what a local step would lock and release if it ran in this state, so that the state is not decoded
// once more when it does.
type foreseen struct {
	action *erased
	state  []byte
	keys   keysHere
}

func (in *instance) keysHere(action *erased) (keysHere, error) {
	if f := &in.foreseen; f.action == action && bytes.Equal(f.state, in.record.State) {
		return f.keys, nil
	}
	return action.keysHere(json.RawMessage(in.record.State))
}

// ahead are the keys of the locks that local steps are likely to meet when messages are answered. What it does
// not foresee is looked at when it is met.
func (s *session) ahead(messages []*skald.Message) (keys []lock.Key) {
	for _, m := range messages {
		id, a, err := readAnswer(m)
		in := s.loaded[id]
		switch {
		case err != nil:
		case in == nil:
			s.unseen = append(s.unseen, m)
		case s.open(in) == nil && in.script.locksHere:
			for _, action := range in.script.ahead(a) {
				if found, err := in.keysHere(action); err == nil { // what is wrong with it is said when it is performed
					in.foreseen = foreseen{action, in.record.State, found}
					keys = append(keys, found.list()...)
				}
			}
		}
	}
	return keys
}

// ahead are the local actions that lock or release something and to which an answer leads: of the steps that
// follow the answered one, or the undos of those before it. A condition may hold, or not.
func (s *script) ahead(a machine.Answer) (actions []*erased) {
	steps := s.machine.Steps
	at := slices.IndexFunc(steps, func(step machine.Step) bool { return step.Name == a.Step })
	add := func(action *erased) {
		if action.locksHere() {
			actions = append(actions, action)
		}
	}
	switch {
	case at < 0:
	case a.Action == machine.Undo || a.Refused:
		for i := at - 1; i >= 0 && (!steps[i].Undo || steps[i].UndoKind == machine.Local); i-- {
			add(s.undo[steps[i].Name])
		}
	default:
		if a.Action == machine.Reserve {
			at = -1 // it starts again
		}
		for i := at + 1; i < len(steps) && (steps[i].Kind == machine.Local || steps[i].When); i++ {
			add(s.do[steps[i].Name])
		}
	}
	return actions
}

// leading are the keys that the start of an instance meets.
func (s *script) leading(state any) (keys []lock.Key) {
	for _, action := range s.ahead(machine.Answer{Step: s.machine.Steps[0].Name, Action: machine.Reserve}) {
		found, _ := action.keysHere(state) // what is wrong with it is said when it is performed
		keys = append(keys, found.list()...)
	}
	return keys
}

// lockHere decides about the lock that a local step takes, or releases; a refusal when it may not run.
func (s *session) lockHere(ctx context.Context, in *instance, e machine.Perform, action *erased, keys keysHere) (*skald.Refusal, error) {
	s.locks().Want(s.ahead(s.unseen)...)
	s.unseen = nil
	if action.unlocks != "" {
		verdict, before, err := s.locks().Ask(ctx, keys.unlocks, in.claim(e.Step, lock.Refuse).Owner, lock.Refuse)
		if err != nil || verdict != lock.Granted {
			return lock.Deny(keys.unlocks, "", before, false), err
		}
	}
	if action.locks == "" {
		return nil, nil
	}
	verdict, before, err := s.locks().Ask(ctx, keys.locks, in.claim(e.Step, "").Owner, action.locked)
	switch {
	case err != nil || verdict == lock.Granted:
		return nil, err
	case verdict == lock.Waiting:
		if err := s.claimHere(ctx, in, e, action); err != nil {
			return nil, err
		}
		return nil, errQueued
	default:
		return lock.Deny(keys.locks, "", before, verdict == lock.Died), nil
	}
}

// errQueued says that a local step waits for a lock.
var errQueued = errors.New("saga: the step waits for a lock")

// claimHere has a command wait for the lock of a local step, in whose place nothing would wait; or, as its bar, wait no
// more.
func (s *session) claimHere(ctx context.Context, in *instance, e machine.Perform, action *erased) error {
	keys, err := in.keysHere(action)
	if err != nil {
		return err
	}
	payload, err := json.Marshal(keys.locks)
	if err != nil {
		return fmt.Errorf("saga %q: encode the lock of step %q: %w", in.record.Name, e.Step, err)
	}
	m := s.ownCommand(in.claim(e.Step, action.locked), lock.ReserveType, "", payload)
	m.Headers.Set(skald.HeaderStep, e.Step)
	m.Headers.Set(skald.HeaderAction, string(e.Action))
	m.Headers.Set(skald.HeaderAttempt, strconv.Itoa(e.Attempt))
	if e.Action == machine.Do {
		m.Headers.Set(skald.HeaderReplyTo, s.engine.ReplyChannel)
	}
	return s.add(ctx, in, m)
}

// runQueued runs a local step that has the lock for which it waited.
func (s *session) runQueued(ctx context.Context, in *instance, a machine.Answer, do *erased) error {
	event, err := s.runLocal(ctx, in, machine.Perform{Step: a.Step, Action: a.Action, Attempt: a.Attempt, Kind: machine.Local}, do)
	if err != nil {
		return err
	}
	return s.apply(ctx, in, event)
}

// lockedHere writes down what a local step that ran has locked and released.
func (s *session) lockedHere(ctx context.Context, in *instance, e machine.Perform, action *erased, keys keysHere) error {
	if action.locks != "" {
		if err := s.locks().Take(in.claim(e.Step, "").Row(keys.locks)); err != nil {
			return err
		}
	}
	if action.unlocks == "" {
		return nil
	}
	return s.locks().Leave(ctx, keys.unlocks, in.claim(e.Step, "").Owner)
}

func (s *session) locks() *lock.Share { return s.engine.Locks.In(s.work) }

// reserve asks for the lock that the saga is to have before it starts again. It gives up the one that it had
// reserved before: its undos have released all others.
func (s *session) reserve(ctx context.Context, in *instance, e machine.Perform) error {
	var wanted, had lock.Denial
	if err := json.Unmarshal([]byte(e.Lock), &wanted); err != nil {
		return fmt.Errorf("saga %q: decode the lock to reserve: %w", in.record.Name, err)
	}
	if in.beginning.Reserved != "" {
		if err := json.Unmarshal([]byte(in.beginning.Reserved), &had); err != nil {
			return fmt.Errorf("saga %q: decode the lock that was reserved: %w", in.record.Name, err)
		}
		earlier := in.claim("", "")
		earlier.Round--
		if err := s.sweepAt(ctx, in, earlier, had.Channel); err != nil {
			return err
		}
	}
	in.beginning.Reserved = e.Lock
	payload, err := json.Marshal(lock.Key{Resource: wanted.Resource, Key: wanted.Key})
	if err != nil {
		return fmt.Errorf("saga %q: encode the lock to reserve: %w", in.record.Name, err)
	}
	m := s.ownCommand(in.claim("", ""), lock.ReserveType, wanted.Channel, payload)
	m.Headers.Set(skald.HeaderReplyTo, s.engine.ReplyChannel)
	m.Headers.Set(skald.HeaderStep, e.Step)
	m.Headers.Set(skald.HeaderAction, skald.ActionReserve)
	m.Headers.Set(skald.HeaderAttempt, strconv.Itoa(e.Attempt))
	return s.add(ctx, in, m)
}

// sweep has everybody remove what may be left of an ended root's locks.
func (s *session) sweep(ctx context.Context, in *instance) error {
	for _, channel := range in.script.left(&in.machine) {
		if err := s.sweepAt(ctx, in, in.claim("", ""), channel); err != nil {
			return err
		}
	}
	return nil
}

// sweepAt sweeps at once in the orchestrator's own database, unless a reservation may be on its way, which a
// command is behind.
func (s *session) sweepAt(ctx context.Context, in *instance, claim lock.Claim, channel string) error {
	if channel == "" && in.machine.Round == 0 {
		return s.locks().Sweep(ctx, claim.Owner)
	}
	return s.add(ctx, in, s.ownCommand(claim, lock.SweepType, channel, []byte("{}")))
}

// ownCommand is a command of the runtime's own about a saga's locks. Those of a saga stay in order.
func (s *session) ownCommand(claim lock.Claim, kind, channel string, payload []byte) skald.Message {
	if channel == "" {
		channel = s.engine.ReplyChannel
	}
	m := skald.Message{Kind: skald.KindCommand, Channel: channel, Key: claim.Saga.String(), Type: kind, Version: lock.Version, Payload: payload}
	m.Headers.Set(skald.HeaderSaga, claim.Saga.String())
	claim.Put(&m.Headers)
	return m
}

func (s *session) add(ctx context.Context, in *instance, m skald.Message) error {
	return s.engine.Outbox.Add(unit.With(skald.WithTrace(ctx, in.record.Trace), s.work), s.work.Tx, m)
}

// left lists where locks of an ended root may be left: the channels of steps that locked something which no
// later step has released; "" is the orchestrator's own database. What an undo does it has released.
func (s *script) left(in *machine.Instance) []string {
	var channels []string
	leave := func(channel string) {
		if !slices.Contains(channels, channel) {
			channels = append(channels, channel)
		}
	}
	locked := map[skald.Resource]int{}
	for i := range in.Steps {
		if do := s.do[in.Steps[i].Step]; in.Steps[i].State == machine.Done {
			if do.locks != "" {
				locked[do.locks]++
			}
			if do.unlocks != "" {
				locked[do.unlocks]--
			}
		}
	}
	for n, member := range s.family() {
		for _, do := range member.do {
			if do.locks != "" && (n > 0 || in.Round > 0 || locked[do.locks] > 0) {
				leave(do.channel)
			}
		}
	}
	slices.Sort(channels)
	return channels
}

// Resources are what local steps of the registered sagas lock: the engine's service owns them.
func (e *Engine) Resources() []skald.Resource {
	var all []skald.Resource
	for _, versions := range e.scripts {
		for _, s := range versions {
			for _, do := range s.do {
				if do.kind == machine.Local && do.locks != "" && !slices.Contains(all, do.locks) {
					all = append(all, do.locks)
				}
			}
		}
	}
	slices.Sort(all)
	return all
}
