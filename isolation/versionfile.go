package isolation

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
)

// Bounds on a version file.
const (
	// MaxWaiting operations wait at most for earlier ones.
	MaxWaiting = 100
	// MaxRemembered versions are remembered at most, to tell what was recorded before from what comes too late.
	MaxRemembered = 100
)

// ErrOvertaken is in the chain of the error for an operation that can never be applied: another one follows the version that
// it was decided on. A handler makes a refusal of it, as of a [Reread].
var ErrOvertaken = errors.New("isolation: the record has changed since the version that the operation was decided on")

// ErrRecorded is in the chain of the error for an operation whose version another one makes that was recorded: either this very
// operation has come before, or two are numbered alike. Commands that the runtime handles come once, so there it is a fault
// of the numbering: return it. Who takes operations from elsewhere, where they may come twice, and whose numbers are unique, ignores it.
var ErrRecorded = errors.New("isolation: an operation that makes this version was recorded before")

// ErrTooManyWait is in the chain of the error for an operation that has to wait while [MaxWaiting] others do.
var ErrTooManyWait = errors.New("isolation: too many operations wait for earlier ones")

// VersionFile is the countermeasure of that name: a record keeps the operations that arrive before their time, and applies each when
// all before it are applied. So operations of different sagas, or of one saga over different channels, have the
// same result in whatever order they arrive: the cancel that comes before the authorize is recorded, and the
// authorize, when it comes, is cancelled at once.
//
// Each operation says which version of the record it was decided on, and which one it makes. Numbers may have gaps: versions
// that were never made, because their saga was undone, are waited for by nobody.
//
// It prevents lost updates and wrong results where operations do not commute. It does not prevent dirty reads, and does not
// order what it is not told of. Who sends an operation must know the version of the record, which a reply or the sender's own
// counting of its operations gives.
//
// It costs a read and a write of the file with each operation, and an operation that waits has been answered before
// it has been applied: only what cannot fail then may be answered so. What may fail returns an error, and is tried again, unless
// Record says that its time has come.
//
// It is a value: Record leaves it as it is and returns another. Keep it as JSON in a column of the record, and read
// it under the lock of the row. Its zero value is the file of a record that is not there yet; that of a record
// without a file begins with its version: VersionFile[O]{Version: 7}.
//
// Frank and Zahle 1998; Richardson, Microservices Patterns, section 4.3.2.
type VersionFile[O any] struct {
	// Version of the record: that of the last operation which was applied.
	Version int64 `json:"version"`
	// Applied are the last versions that were applied, in their order.
	Applied []int64 `json:"applied,omitempty"`
	// Waiting are the operations that wait for earlier ones, in their order.
	Waiting []Operation[O] `json:"waiting,omitempty"`
}

// Operation is one on a record.
type Operation[O any] struct {
	// After is the version of the record that the operation was decided on, and follows; 0 if it makes the record.
	After int64 `json:"after"`
	// Version is the one that it makes: any number greater than After that no other operation on the record has.
	Version int64 `json:"version"`
	// Content says what to do.
	Content O `json:"content"`
}

// Record takes an operation, and returns the file after it and what is to be applied now, in order: the operation and those that
// waited for it, or nothing when it waits itself. The file counts all that it returns as applied: who
// does not apply it must not keep the file.
func (f VersionFile[O]) Record(operation Operation[O]) (VersionFile[O], []Operation[O], error) {
	if err := errors.Join(f.Validate(), operation.validate()); err != nil {
		return f, nil, err
	}
	if f.recorded(operation) {
		return f, nil, fmt.Errorf("%w: it follows version %d and makes %d", ErrRecorded, operation.After, operation.Version)
	}
	if err := f.room(operation); err != nil {
		return f, nil, err
	}
	after := f.with(operation)
	due := 0
	for due < len(after.Waiting) && after.Waiting[due].After == after.Version {
		after.Version = after.Waiting[due].Version
		after.Applied = append(after.Applied, after.Version)
		due++
	}
	now := after.Waiting[:due:due]
	after.Waiting = after.Waiting[due:]
	if len(after.Waiting) > MaxWaiting {
		return f, nil, fmt.Errorf("%w: %d, and the record is at version %d", ErrTooManyWait, MaxWaiting, f.Version)
	}
	if extra := len(after.Applied) - MaxRemembered; extra > 0 {
		after.Applied = after.Applied[extra:]
	}
	return after, now, nil
}

// with is a copy of the file in which the operation waits.
func (f *VersionFile[O]) with(operation Operation[O]) VersionFile[O] {
	at, _ := slices.BinarySearchFunc(f.Waiting, operation.Version, func(w Operation[O], version int64) int {
		return cmp.Compare(w.Version, version)
	})
	return VersionFile[O]{f.Version, slices.Clone(f.Applied), slices.Insert(slices.Clone(f.Waiting), at, operation)}
}

// recorded reports whether an operation that follows and makes the same versions was recorded before.
func (f *VersionFile[O]) recorded(o Operation[O]) bool {
	for i, version := range f.Applied {
		if version == o.Version {
			return i == 0 || f.Applied[i-1] == o.After
		}
	}
	return slices.ContainsFunc(f.Waiting, func(w Operation[O]) bool { return w.Version == o.Version && w.After == o.After })
}

// room refuses an operation that lies across another: from the version that each follows to the one that it makes there is
// nothing else.
func (f *VersionFile[O]) room(o Operation[O]) error {
	if o.After < f.Version {
		return fmt.Errorf("%w: it follows version %d and makes %d, and the record is at %d", ErrOvertaken, o.After, o.Version, f.Version)
	}
	for _, w := range f.Waiting {
		if o.After < w.Version && w.After < o.Version {
			return fmt.Errorf("%w: it follows version %d and makes %d, and one that waits follows %d and makes %d",
				ErrOvertaken, o.After, o.Version, w.After, w.Version)
		}
	}
	return nil
}

func (o *Operation[O]) validate() error {
	if o.After < 0 || o.Version <= o.After {
		return fmt.Errorf("isolation: an operation that follows version %d and makes %d: the first is at least 0, the second greater", o.After, o.Version)
	}
	return nil
}

// Validate says what is wrong with a file that was read from where it was kept.
func (f *VersionFile[O]) Validate() error {
	fault := func(format string, args ...any) error {
		return fmt.Errorf("isolation: a faulty version file: "+format, args...)
	}
	if n := len(f.Applied); n > MaxRemembered || !slices.IsSorted(f.Applied) || n > 0 && f.Applied[n-1] != f.Version {
		return fault("applied %v at version %d: rising, at most %d, the last one the file's", f.Applied, f.Version, MaxRemembered)
	}
	if f.Version < 0 {
		return fault("version %d: at least 0", f.Version)
	}
	if n := len(f.Waiting); n > MaxWaiting {
		return fault("%d operations wait: at most %d", n, MaxWaiting)
	}
	before := f.Version
	for i := range f.Waiting {
		w := &f.Waiting[i]
		if err := w.validate(); err != nil {
			return fault("%w", err)
		}
		if w.After < before || i == 0 && w.After == f.Version {
			return fault("an operation waits that follows version %d and makes %d, behind version %d", w.After, w.Version, before)
		}
		before = w.Version
	}
	return nil
}
