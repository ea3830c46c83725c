/*
 * One saga from end to end: the orchestrator's state machine, a participant with barriers, an
 * inbox and a held table, and between them, in both directions, an outbox, its relay, a broker
 * that may forget what it has not yet synced, and a reader. README.md says what is left out.
 *
 * The saga: C is compensatable (undo, deadline), P is the pivot (deadline, bar), R is retriable.
 *
 * Bounds: FAULTS crashes and repetitions, in any mixture and at any point; the operator
 * resumes a parked saga RESUMES times; a repeated command is answered again AGAIN times.
 *
 * Broken twins, each of which must fail: NO_BARRIER, NO_INBOX, ACK_PAST_GAP,
 * ACK_BEFORE_COMMIT, ANY_REPLY, TIMEOUT_IS_NO.
 */

#ifndef FAULTS
#define FAULTS 2
#endif
#ifndef RESUMES
#define RESUMES 1
#endif
#ifndef AGAIN
#define AGAIN 1
#endif

/* Commands. A second attempt is another message. */
#define C_DO    0
#define C_UNDO  1
#define C_UNDO2 2
#define P_DO    3
#define P_BAR   4
#define R_DO    5
#define R_DO2   6
#define NONE    15

#define BIT(m)    (1 << (m))
#define KEY_C     (BIT(C_DO) | BIT(C_UNDO) | BIT(C_UNDO2))
#define KEY_P     (BIT(P_DO) | BIT(P_BAR))
#define KEY_R     (BIT(R_DO) | BIT(R_DO2))
#define KEY(m)    ((m) <= C_UNDO2 -> KEY_C : ((m) <= P_BAR -> KEY_P : KEY_R))
#define DO_OF(m)  ((m) <= C_UNDO2 -> C_DO : P_DO)
#define IS_DO(m)  ((m) == C_DO || (m) == P_DO || (m) >= R_DO)

/* A reply is its command and the outcome. Its id is the command's: a command has one reply. */
#define REPLY(m, refused) (((m) << 1) | (refused))
#define ANSWERED(r)       ((r) >> 1)
#define REFUSED(r)        ((r) & 1)

/* ---- The way of a message: outbox, relay, broker, reader; once in each direction. ---- */

#define ROWS 8
#define LOG  24

typedef Way {
	byte row[ROWS];  /* the outbox, in commit order */
	byte rows;
	byte checkpoint; /* rows the relay will never publish again */
	byte published;  /* rows the relay has published in this session */
	byte offset;     /* row i of this session is at i + offset in the broker */
	byte log[LOG];   /* the broker's partition */
	byte stored;
	byte synced;     /* so much of it is surely on disk */
	byte position;   /* of the reader, in the receiver's database */
	byte got;        /* what the reader holds in memory */
	bit stale        /* the broker has crashed and lost it since */
}

#define COMMANDS 0
#define REPLIES  1
Way way[2];
byte faults = FAULTS; /* that are still to come */

inline add(w, m) {
	assert(way[w].rows < ROWS);
	way[w].row[way[w].rows] = m;
	way[w].rows++
}

/* A session is opened only after the one before has ended, and begins at the checkpoint. */
inline openSession(w) {
	way[w].published = way[w].checkpoint;
	way[w].offset = way[w].stored - way[w].checkpoint
}

/* Until something fails nobody looks at the checkpoint, nor at what is synced. So how far they
 * have come is chosen when it does: the same behaviours, a fraction of the states. The relay
 * settles rows that it published longer ago than the broker's sync interval, on a connection
 * that still lives, and only those: they are on disk. */
#ifdef ACK_PAST_GAP
#define SETTLED(w) true
#else
#define SETTLED(w) (way[w].offset + way[w].checkpoint < way[w].stored)
#endif

inline settle(w) {
	do
	:: way[w].checkpoint < way[w].published && SETTLED(w) ->
		way[w].checkpoint++;
		way[w].synced = way[w].offset + way[w].checkpoint
	:: break
	od
}

byte i, j;
bit checkpoint_passes_lost_message;

/* Every row before the checkpoint is in the broker. */
inline nothingLost(w) {
	i = 0;
	do
	:: i < way[w].checkpoint ->
		j = 0;
		do
		:: j < way[w].stored && way[w].log[j] != way[w].row[i] -> j++
		:: else -> break
		od;
		checkpoint_passes_lost_message = checkpoint_passes_lost_message || j == way[w].stored;
		i++
	:: else -> break
	od;
	i = 0; j = 0;
	assert(!checkpoint_passes_lost_message)
}

proctype Relay(bit w) {
end:	do
	:: d_step { way[w].published < way[w].rows && (faults > 0 || way[w].position == way[w].stored) ->
			assert(way[w].stored < LOG);
			way[w].log[way[w].stored] = way[w].row[way[w].published];
			way[w].stored++;
			way[w].published++ }
	od
}

inline read(w) {
	way[w].got = way[w].log[way[w].position];
#ifdef ACK_BEFORE_COMMIT
	way[w].position++
#endif
}

/* When nothing will fail any more, what was read is never read again, and no session ends. To
 * forget all that changes no behaviour, and makes states equal that differ in their past only. */
inline forget(w) {
	do
	:: way[w].position > 0 ->
		j = 0;
		do
		:: j + 1 < way[w].stored -> way[w].log[j] = way[w].log[j + 1]; j++
		:: else -> break
		od;
		way[w].log[j] = 0;
		j = 0;
		way[w].stored--;
		way[w].position--
	:: else -> break
	od;
	way[w].checkpoint = 0;
	way[w].synced = 0;
	way[w].offset = 0
}

/* The position is written in the transaction. One of what the broker has lost meanwhile is
 * known by the moment of its message, and means the beginning. */
inline committed(w) {
#ifndef ACK_BEFORE_COMMIT
	way[w].position = (way[w].stale -> 0 : way[w].position + 1);
#endif
	way[w].got = NONE;
	way[w].stale = 0;
	if
	:: faults == 0 -> forget(w)
	:: else -> skip
	fi
}

/* ---- The orchestrator: internal/machine, and the engine around it. ---- */

mtype = { sent, done, refused, unknown, undoing, undone, stuck };                /* of a step */
mtype = { running, compensating, parked, completed, compensated };              /* of the saga */
mtype = { clear, did, refusedHere, undoneHere, barred };                        /* of a barrier */

mtype status = running;
mtype stateC, stateP;
byte wait = NONE; /* the message whose answer counts */
bit due;
bit backward;     /* a parked saga was compensating */
byte resumes = RESUMES;
byte answers;     /* inbox: replies handled */

inline send(m) { wait = m; add(COMMANDS, m) }

inline compensate() {
	if
	:: stateC == done || stateC == unknown -> status = compensating; stateC = undoing; send(C_UNDO)
	:: else -> status = compensated
	fi
}

#ifdef ANY_REPLY
#define COUNTS(m) (wait != NONE)
#define TAKEN(m)  wait
#else
#define COUNTS(m) (wait != NONE && (wait == (m) || wait == P_BAR && (m) == P_DO))
#define TAKEN(m)  m
#endif

byte taken;

inline answer(m, no) {
	if
	:: COUNTS(m) ->
		taken = TAKEN(m); wait = NONE; due = 0;
		if
		:: taken == C_DO && !no -> stateC = done; stateP = sent; due = 1; send(P_DO)
		:: taken == C_DO && no -> stateC = refused; compensate()
		:: (taken == P_DO || taken == P_BAR) && !no -> stateP = done; send(R_DO)
		:: (taken == P_DO || taken == P_BAR) && no -> stateP = refused; compensate()
		:: taken >= R_DO && !no -> status = completed
		:: taken >= R_DO && no -> status = parked; backward = 0
		:: (taken == C_UNDO || taken == C_UNDO2) && !no -> stateC = undone; status = compensated
		:: (taken == C_UNDO || taken == C_UNDO2) && no -> stateC = stuck; status = parked; backward = 1
		fi;
		taken = 0
	:: else -> skip /* late, or overtaken: noted in the history */
	fi
}

/* The transaction of a reply: inbox, saga, outbox, position. */
inline engine(r) {
#ifndef NO_INBOX
	if
	:: answers & BIT(ANSWERED(r)) -> skip
	:: else ->
#endif
		answers = answers | BIT(ANSWERED(r));
		answer(ANSWERED(r), REFUSED(r))
#ifndef NO_INBOX
	fi
#endif
}

proctype Orchestrator() {
end:	do
	:: atomic { way[REPLIES].got == NONE && way[REPLIES].position < way[REPLIES].stored -> read(REPLIES);
			if
			:: faults == 0 -> engine(way[REPLIES].got); committed(REPLIES)
			:: else -> skip
			fi }
	:: atomic { way[REPLIES].got != NONE -> engine(way[REPLIES].got); committed(REPLIES) }
	:: d_step { due -> /* the deadline passes; it may, whenever it is set */
			due = 0;
			if
#ifdef TIMEOUT_IS_NO
			:: wait == P_DO -> stateP = refused; wait = NONE; compensate()
#else
			:: wait == P_DO -> send(P_BAR)
#endif
			:: wait == C_DO -> stateC = unknown; wait = NONE; compensate()
			fi }
	:: d_step { status == parked && resumes > 0 -> /* the operator */
			resumes--;
			if
			:: backward -> status = compensating; stateC = undoing; send(C_UNDO2)
			:: else -> status = running; send(R_DO2)
			fi }
	od
}

/* ---- The participant: its business, barriers, inbox and held table. ---- */

byte didC, undidC, didP, barredP, didR; /* effects */
bit effect_twice, undone_after_pivot, bar_and_pivot;

mtype barrierC = clear, barrierP = clear;
byte handled;  /* inbox: commands handled */
byte refusals; /* ... whose recorded reply is a "no" */
byte held;     /* commands that wait for their next attempt, or behind another of their key */
byte again = AGAIN;

inline check() {
	effect_twice = didC > 1 || undidC > 1 || didR > 1 || didP > 1;
	undone_after_pivot = didP && undidC;
	bar_and_pivot = didP && barredP;
	assert(!effect_twice);
	assert(!undone_after_pivot);
	assert(!bar_and_pivot)
}

/* The reply is recorded, and added to the outbox. */
inline reply(m, no) {
	handled = handled | BIT(m);
	held = held & ~BIT(m);
	refusals = (no -> refusals | BIT(m) : refusals);
	add(REPLIES, REPLY(m, no))
}

#ifdef NO_BARRIER
#define RECORDED(barrier) false
#else
#define RECORDED(barrier) ((barrier) != clear)
#endif

/* Whether the handler runs, or the barrier alone decides. */
#define RUNS(m) ( \
	(m) == C_DO && !RECORDED(barrierC) || (m) == P_DO && !RECORDED(barrierP) || (m) >= R_DO || \
	((m) == C_UNDO || (m) == C_UNDO2) && barrierC == did)

/* The transaction of a command: inbox, barrier, handler, reply, position. */
inline perform(m) {
	if
	:: m == C_DO && RUNS(m) -> didC++; barrierC = did; reply(m, 0)
	:: m == C_DO && RUNS(m) -> barrierC = refusedHere; reply(m, 1)
	:: m == C_DO && !RUNS(m) -> reply(m, 1)
	:: (m == C_UNDO || m == C_UNDO2) && barrierC == did -> undidC++; barrierC = undoneHere; reply(m, 0)
	:: (m == C_UNDO || m == C_UNDO2) && barrierC == did -> reply(m, 1) /* stuck */
	:: (m == C_UNDO || m == C_UNDO2) && barrierC != did ->
		barrierC = (barrierC == clear -> undoneHere : barrierC); reply(m, 0)
	:: m == P_DO && RUNS(m) -> didP++; barrierP = did; reply(m, 0)
	:: m == P_DO && RUNS(m) -> barrierP = refusedHere; reply(m, 1)
	:: m == P_DO && !RUNS(m) -> reply(m, 1)
	:: m == P_BAR && barrierP == did -> reply(m, 0)
	:: m == P_BAR && barrierP != did ->
		if
		:: barrierP == clear -> barrierP = barred; barredP = 1
		:: else -> skip
		fi;
		reply(m, 1)
	:: m >= R_DO -> didR++; reply(m, 0)
	:: m >= R_DO -> reply(m, 1)
	fi;
	check()
}

/* An undo, or a bar, goes before its own do where that is held. */
#define OVERTAKES(m) (!IS_DO(m) && (held & BIT(DO_OF(m))))

#ifdef NO_INBOX
#define KNOWN(m) false
#else
#define KNOWN(m) (handled & BIT(m))
#endif

inline participant(m) {
	if
	:: KNOWN(m) && again > 0 -> again--; add(REPLIES, REPLY(m, ((refusals & BIT(m)) -> 1 : 0)))
	:: KNOWN(m) -> skip
	:: !KNOWN(m) && (held & BIT(m)) -> skip
	:: !KNOWN(m) && !(held & BIT(m)) && (held & KEY(m)) && !OVERTAKES(m) -> held = held | BIT(m)
	:: !KNOWN(m) && !(held & BIT(m)) && (!(held & KEY(m)) || OVERTAKES(m)) -> perform(m)
	:: !KNOWN(m) && !(held & BIT(m)) && !(held & KEY(m)) && RUNS(m) -> held = held | BIT(m) /* an error: tried again later */
	fi
}

/* What is due of a key is its first held message. */
#define FIRST(m) ((held & BIT(m)) && !(held & KEY(m) & (BIT(m) - 1)))

proctype Participant() {
end:	do
	:: atomic { way[COMMANDS].got == NONE && way[COMMANDS].position < way[COMMANDS].stored -> read(COMMANDS);
			if
			:: faults == 0 -> participant(way[COMMANDS].got); committed(COMMANDS)
			:: else -> skip
			fi }
	:: atomic { way[COMMANDS].got != NONE -> participant(way[COMMANDS].got); committed(COMMANDS) }
	:: atomic { FIRST(C_DO) -> perform(C_DO) }
	:: atomic { FIRST(C_UNDO) -> perform(C_UNDO) }
	:: atomic { FIRST(C_UNDO2) -> perform(C_UNDO2) }
	:: atomic { FIRST(P_DO) -> perform(P_DO) }
	:: atomic { FIRST(P_BAR) -> perform(P_BAR) }
	:: atomic { FIRST(R_DO) -> perform(R_DO) }
	:: atomic { FIRST(R_DO2) -> perform(R_DO2) }
	od
}

/* ---- Faults. ---- */

inline lose(w) {
	do
	:: way[w].stored > way[w].synced ->
		way[w].stored--;
		way[w].log[way[w].stored] = 0
	:: break
	od;
	settle(w);
	nothingLost(w);
	way[w].stale = way[w].got != NONE && (way[w].stale || way[w].position >= way[w].stored);
	way[w].position = (way[w].position > way[w].stored -> 0 : way[w].position);
	openSession(w)
}

inline failed() {
	faults--;
	if
	:: faults == 0 -> forget(COMMANDS); forget(REPLIES)
	:: else -> skip
	fi
}

proctype Faults() {
end:	do
	:: atomic { faults > 0 -> /* an instance dies: what it had in memory is gone */
			if
			:: settle(COMMANDS); openSession(COMMANDS); way[REPLIES].got = NONE; way[REPLIES].stale = 0
			:: settle(REPLIES); openSession(REPLIES); way[COMMANDS].got = NONE; way[COMMANDS].stale = 0
			fi;
			failed() }
	:: atomic { faults > 0 -> /* a channel's broker dies, and loses what it has not synced, or some of it */
			if
			:: way[COMMANDS].stored > 0 -> lose(COMMANDS)
			:: way[REPLIES].stored > 0 -> lose(REPLIES)
			fi;
			failed() }
	:: atomic { faults > 0 -> /* a reader begins anew: everything is delivered twice */
			if
			:: way[COMMANDS].position > 0 && way[COMMANDS].got == NONE -> way[COMMANDS].position = 0
			:: way[REPLIES].position > 0 && way[REPLIES].got == NONE -> way[REPLIES].position = 0
			fi;
			failed() }
	:: atomic { faults > 0 -> faults = 1; failed() } /* no more */
	od
}

/* ---- What must hold when nothing moves any more. No step can be taken for ever (run
 * checks that there is no cycle), so every run gets here, and that is the liveness. ---- */

bit saga_hangs, message_lost, not_undone, undone_unnoticed, step_missing;

proctype Rest() {
	atomic {
		timeout ->
		message_lost = false;
		i = 0;
		do
		:: i < way[COMMANDS].rows ->
			message_lost = message_lost || !(handled & BIT(way[COMMANDS].row[i])) || !(answers & BIT(way[COMMANDS].row[i]));
			i++
		:: else -> break
		od;
		assert(!message_lost);
		saga_hangs = status == running || status == compensating || status == parked && resumes > 0;
		assert(!saga_hangs);
		not_undone = status == compensated && (didC != undidC || didP || didR);
		assert(!not_undone);
		undone_unnoticed = undidC && status != compensated;
		assert(!undone_unnoticed);
		step_missing = status == completed && !(didC && didP && didR);
		assert(!step_missing)
	}
}

init {
	atomic {
		way[COMMANDS].got = NONE;
		way[REPLIES].got = NONE;
		stateC = sent; due = 1; send(C_DO);
		run Relay(COMMANDS);
		run Relay(REPLIES);
		run Orchestrator();
		run Participant();
		run Faults();
		run Rest()
	}
}

#define SETTLED_SAGA (status == completed || status == compensated || status == parked)

ltl ends     { <> SETTLED_SAGA }
ltl forward  { [] (didP -> [] !undidC) }
ltl either   { [] !(didP && barredP) }
ltl kept     { [] (status == completed -> [] (status == completed && didC && didP && didR && !undidC)) }
