package saga

import (
	"errors"
	"fmt"
	"slices"

	"github.com/skald-go/skald"
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
