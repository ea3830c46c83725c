package saga

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/skald-go/skald"
	"github.com/skald-go/skald/internal/machine"
)

// ErrUnknownVersion says that an instance was started with a version of its definition that is not
// registered in this process. Nothing is wrong with the instance: a process that knows the version goes on
// with it.
var ErrUnknownVersion = errors.New("saga: the version is not registered in this process")

var errRefused = errors.New("its definition was refused when it was registered")

// Version names one version of a definition.
type Version struct {
	Name   string
	Number int
}

// String implements [fmt.Stringer].
func (v Version) String() string { return fmt.Sprintf("%q version %d", v.Name, v.Number) }

func compareVersions(a, b Version) int {
	return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Number, b.Number))
}

// Due is a saga's timer. Those of a store are in the order of their moments, and of their ids
// within one.
type Due struct {
	ID skald.ID
	At time.Time
}

// Live says how many instances of a version have not ended.
type Live struct {
	Version
	Count int
	Key   string // of one of them
}

// Versions lists what is registered or tracked, by name and number.
func (e *Engine) Versions() []Version {
	var all []Version
	for name, versions := range e.scripts {
		for number := range versions {
			all = append(all, Version{name, number})
		}
	}
	for name, versions := range e.tracked {
		for number := range versions {
			all = append(all, Version{name, number})
		}
	}
	slices.SortFunc(all, compareVersions)
	return all
}

// script finds the definition that an instance started with.
func (e *Engine) script(name string, version int) (*script, error) {
	if s := e.scripts[name][version]; s != nil {
		return s, nil
	}
	return nil, fmt.Errorf("saga %q: version %d: %w: register it until its last instance has ended", name, version, ErrUnknownVersion)
}

// starting chooses the version of a name that a handle starts among those that it was registered with.
func (e *Engine) starting(name string, registered map[int]*script) (*script, error) {
	if len(registered) == 0 {
		return nil, errRefused
	}
	number, configured := e.StartVersions[name]
	if !configured {
		number = slices.Max(slices.Collect(maps.Keys(registered)))
	}
	if s := registered[number]; s != nil {
		return s, nil
	}
	return nil, fmt.Errorf("version %d is the one that starts (StartVersions), and this handle was registered without it: start it by the handle that has it", number)
}

// checkStartVersions returns what is wrong with the configured versions.
func (e *Engine) checkStartVersions() []error {
	var faults []error
	for _, name := range slices.Sorted(maps.Keys(e.StartVersions)) {
		number, versions := e.StartVersions[name], e.scripts[name]
		switch {
		case versions == nil:
			faults = append(faults, fmt.Errorf("saga %q: StartVersions says that version %d starts, and no definition of this name is registered: register it, or correct the name; there are %q", name, number, slices.Sorted(maps.Keys(e.scripts))))
		case versions[number] == nil:
			faults = append(faults, fmt.Errorf("saga %q: StartVersions says that version %d starts, and it is not registered: register it, or choose one of %d", name, number, slices.Sorted(maps.Keys(versions))))
		}
	}
	return faults
}

// nameUnknown looks for live instances that no registered version goes on with, and says so.
func (e *Engine) nameUnknown(ctx context.Context) error {
	live, err := e.Store.CountLive(ctx)
	if err != nil {
		return fmt.Errorf("saga: count the live instances: %w", err)
	}
	for _, l := range live {
		if e.scripts[l.Name][l.Number] != nil || e.tracked[l.Name][l.Number] != nil {
			continue
		}
		e.waiting = true
		e.Logger.Error("saga: live instances of a version that is not registered: they wait, and replies to them are held, until a process runs that has it registered",
			"saga", l.Name, "version", l.Number, "instances", l.Count, "example_key", l.Key)
	}
	return nil
}

// Patience is the longest time after which a registered saga may ask a participant what became of a
// command: the deadline of a call, or a pivot's bar; and whose it is.
func (e *Engine) Patience() (longest time.Duration, whose string) {
	for _, versions := range e.scripts {
		for _, s := range versions {
			for i := range s.machine.Steps {
				if step := &s.machine.Steps[i]; step.Kind == machine.Call && step.Deadline > longest {
					longest, whose = step.Deadline, fmt.Sprintf("step %q of saga %q", step.Name, s.name)
				}
			}
		}
	}
	return longest, whose
}

// Active reports whether there is anything to read replies for, once Check has looked: a definition, or live
// instances of one that is missing.
func (e *Engine) Active() bool { return len(e.scripts) > 0 || e.waiting }
