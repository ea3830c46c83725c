package machine

import "errors"

// Event is what happens to an instance.
type Event interface{ event() }

// Start begins an instance.
type Start struct{}

// Answer is a participant's reply, a child's end, or the result of a local step.
type Answer struct {
	Step    string
	Action  Action
	Attempt int
	// Refused with Detail; otherwise the step landed.
	Refused bool
	Detail  string
	// Again says of a refusal that it is none: what was done is to be undone, and the saga to start
	// again; once it has Lock, if that is not empty.
	Again bool
	Lock  string
}

// Signal is what a wait waits for. It may come before the wait's turn.
type Signal struct {
	Step string
	// Refused with Detail; otherwise the saga goes on.
	Refused bool
	Detail  string
}

// Timeout says that DueAt has passed.
type Timeout struct{}

// Cancel asks from outside that what was done be undone.
type Cancel struct{ Detail string }

// Queue says that a local step waits for a lock. Its answer comes later.
type Queue struct{ Step string }

// Rewound says that the instance's state is what it was at its start.
type Rewound struct{}

// Resume is an operator's word to try again what the instance is parked at.
type Resume struct{ Detail string }

func (Start) event()   {}
func (Answer) event()  {}
func (Signal) event()  {}
func (Timeout) event() {}
func (Cancel) event()  {}
func (Resume) event()  {}
func (Rewound) event() {}
func (Queue) event()   {}

// Effect is what the engine has to carry out, in order.
type Effect interface{ effect() }

// Perform carries out a step's action: a command is sent, a child is started or cancelled, or a local
// function is run and its result fed back as an Answer, or a Queue, before anything else. The bar of a local step has it wait
// for its lock no more.
type Perform struct {
	Step    string
	Action  Action
	Attempt int
	// DoAttempt is the attempt at Do that an undo or a bar is about.
	DoAttempt int
	Kind      Kind
	// Barrier says that the participant must record the attempt.
	Barrier bool
	// Landed says of an undo that its do was answered, and has landed.
	Landed bool
	// Lock is what is to be reserved.
	Lock string
}

// Rewind makes the instance's state what it was at its start, and feeds Rewound back before anything else.
type Rewind struct{}

// Record appends a line to the history.
type Record struct {
	Number             int
	Step, What, Detail string
}

func (Perform) effect() {}
func (Record) effect()  {}
func (Rewind) effect()  {}

// What a history line says.
const (
	WhatStarted   = "started"
	WhatSent      = "sent"
	WhatDone      = "done"
	WhatRefused   = "refused"
	WhatSkipped   = "skipped"
	WhatAwaited   = "awaited"
	WhatSignalled = "signalled early"
	WhatTimedOut  = "timed out"
	WhatCancel    = "cancel"
	WhatBarSent   = "bar sent"
	WhatUndoSent  = "undo sent"
	WhatUndone    = "undone"
	WhatUndoFail  = "undo refused"
	WhatParked    = "parked"
	WhatResumed   = "resumed"
	WhatCompleted = "completed"
	WhatReversed  = "compensated"
	WhatIgnored   = "reply ignored"
	WhatLocked    = "met a lock"
	WhatReserve   = "lock awaited"
	WhatWithdrawn = "lock awaited no more"
	WhatAgain     = "started again"
)

// ErrUnknownAnswer says that an answer names a step or attempt that the instance never
// sent: it belongs to no saga of ours, or to another definition.
var ErrUnknownAnswer = errors.New("the saga never asked for this")

// ErrNotParked is the answer to a Resume of an instance that is not parked.
var ErrNotParked = errors.New("the saga is not parked")

// ErrNotAwaited is the answer to a Signal that the instance does not wait for, and never will.
var ErrNotAwaited = errors.New("the saga does not wait for this any more")

// ErrDecided is the answer to a Cancel after the pivot.
var ErrDecided = errors.New("the saga has passed its pivot, and goes forward only: compensate with another saga")

// ErrEnded is the answer to a Cancel of an instance that has ended.
var ErrEnded = errors.New("there is no live saga: it has ended, or was never started")
