/*
 * The semantic locks (package lock): sagas of distinct ages, two locks in two services, and between
 * them queues, wait-die, reservations, rounds, releases and an operator. saga.pml has the way of
 * a message; here a message that is sent arrives, once, at some time. README.md says the rest.
 *
 * A saga has two steps. Each takes a lock and is undone, or unlocked after the pivot. A rule may
 * refuse each; somebody may cancel the saga at any moment before its pivot.
 *
 * Bounds: SAGAS, the first of which is the oldest. CANCELS: those that may be cancelled, a bit for
 * each. IMPATIENT waits end by themselves; FORCED rows are taken out by an operator; REREADS
 * times a saga has to start again because a value has changed.
 *
 * Shapes, a bit for each saga: ORDER, the lock of its first step; PIVOTS, whether the second step is
 * the pivot, with a bar, or a local pivot follows; GROUPS, whether the steps are branches of a
 * group; SAME, whether they lock the same. LOCAL has a bit for each saga and lock: it is in the
 * orchestrator's own database, where nobody waits who has not given up everything. STALE: with each
 * round that is given up, one more release of each lock is under way.
 *
 * Broken twins, each of which must fail: WAIT_ALWAYS, BARGE, IN_LINE, KEEP_LOCKS, KEEP_RESERVED,
 * NEW_AGE, EARLY, NO_BARRIER, NO_FENCE, NO_TOKEN, NO_LIFT, NO_SWEEP, SWEEP_OVERTAKES; with FORCED:
 * SILENT, BLIND; with GROUPS and SAME: TAKER; and LOCAL for both locks of a saga.
 */

#ifndef SAGAS
#define SAGAS 3
#endif
#ifndef CANCELS
#define CANCELS 7
#endif
#ifndef IMPATIENT
#define IMPATIENT 1
#endif
#ifndef FORCED
#define FORCED 0
#endif
#ifndef REREADS
#define REREADS 0
#endif
#ifndef ORDER
#define ORDER 2
#endif
#ifndef PIVOTS
#define PIVOTS 2
#endif
#ifndef GROUPS
#define GROUPS 0
#endif
#ifndef SAME
#define SAME 0
#endif
#ifndef LOCAL
#define LOCAL 0
#endif

#define LOCKS 2
#define SK(s, k) ((s) * 2 + (k))     /* of a saga and a step */
#define SL(s, l) ((s) * LOCKS + (l)) /* of a saga and a lock */
#define AT(l, i) who[(l) * SAGAS + (i)]
#define IS(set, s) (((set) >> (s)) & 1)
#define LOCK(s, k) (((k) && !IS(SAME, s)) ^ IS(ORDER, s))
#define PIVOT(s, k) ((k) && IS(PIVOTS, s))

/* ---- The state of the sagas. ---- */

mtype = { forward, back, reserving, decided, completed, compensated };
mtype phase[SAGAS] = forward;
mtype = { idle, sent, done, undoing, unlocking };
mtype state[SAGAS * 2] = idle; /* of a step */
mtype = { clear, did, undone };
mtype barrier[SAGAS * 2] = clear; /* of a step's do in this round, at the participant */
byte round[SAGAS];
bit restart[SAGAS]; /* it goes back to start again */
byte wish[SAGAS];   /* the lock that it is to have before */
#define NONE 2      /* ... or none */
byte left[SAGAS];   /* locks of which a reservation's row may be left */
bit cancels[SAGAS]; /* somebody may cancel it */
byte impatient, forced, rereads;

/* ---- The queues, in the services' databases. ---- */

byte who[LOCKS * SAGAS];    /* a lock's rows, in order: the first one holds it */
byte rows[LOCKS];
bit queued[SAGAS * LOCKS];  /* a saga has a row */
byte token[SAGAS * LOCKS];  /* ... of this round */
byte users[SAGAS * LOCKS];  /* ... for these steps, or for a reservation */
byte age[SAGAS];            /* the smaller the older */
#ifdef NEW_AGE
byte youngest = SAGAS;
#endif

#define STEP(k) (1 << (k))
#define RESERVED 4

#define FREE(l)     (rows[l] == 0)
#define FIRST(s, l) (!FREE(l) && AT(l, 0) == (s))

/* Whether a saga that holds locks may wait: if it is older than all that are before it. */
#define OLDER(s, l, i) (rows[l] <= (i) || age[s] < age[AT(l, i)])
#if defined(WAIT_ALWAYS)
#define MAY_WAIT(s, l) true
#elif defined(BARGE)
#define MAY_WAIT(s, l) OLDER(s, l, 0)
#else
#define MAY_WAIT(s, l) (!IS(LOCAL, SL(s, l)) && OLDER(s, l, 0) && OLDER(s, l, 1) && OLDER(s, l, 2))
#endif

/* How often a saga may start again. The oldest never has to. Whoever has to meets a row of an older
 * one, and does not meet that row again: so once for each lock and each round of each older one. */
#ifndef MOST0
#define MOST0 0
#endif
#ifndef MOST1
#define MOST1 2
#endif
#ifndef MOST2
#define MOST2 8
#endif
#define MOST(s) (((s) == 0 -> MOST0 : ((s) == 1 -> MOST1 : MOST2)) + FORCED + REREADS)

hidden byte i, j;

inline join(s, l, user) {
	AT(l, rows[l]) = s;
	rows[l]++;
	queued[SL(s, l)] = 1;
	token[SL(s, l)] = round[s];
	users[SL(s, l)] = user
}

/* The next one has the lock from now on: its message is due. */
inline remove(s, l) {
	i = 0;
	do
	:: AT(l, i) != s -> i++
	:: else -> break
	od;
	do
	:: i + 1 < rows[l] -> AT(l, i) = AT(l, i + 1); i++
	:: else -> break
	od;
	rows[l]--;
	AT(l, rows[l]) = 0;
	queued[SL(s, l)] = 0;
	token[SL(s, l)] = 0;
	users[SL(s, l)] = 0
}

/* A step needs the row no more. It goes with the last one. */
inline leave(s, l, k) {
	if
	:: queued[SL(s, l)] && (users[SL(s, l)] & STEP(k)) ->
		users[SL(s, l)] = users[SL(s, l)] & ~STEP(k);
		if
		:: users[SL(s, l)] == 0 -> remove(s, l)
		:: else
		fi
	:: else
	fi
}

/* ---- Messages, in no order. The only ones of a key that are under way at once are a do and its
 * undo, which overtakes it wherever it is held, and a reservation and its sweep. ---- */

#define DO(k)     (1 << (k))
#define UNDO(k)   (4 << (k)) /* of a pivot: the bar */
#define UNLOCK(k) (16 << (k))
#define RESERVE   64

byte flight[SAGAS];       /* sent, and not handled */
byte waits[SAGAS];        /* held for a lock, apart from the queue of their key */
int sweep[SAGAS * LOCKS]; /* sent, and not handled: a bit for each round */

mtype = { none, yes, no, again, reread };
mtype reply[SAGAS * 2] = none; /* to what the saga waits for; a reservation has the first one's place */

#ifdef IN_LINE
#define BLOCKS(t, l) ((t) < SAGAS && ( \
	(waits[(t) % SAGAS] & DO(0)) && LOCK((t) % SAGAS, 0) == (l) || (waits[(t) % SAGAS] & DO(1)) && LOCK((t) % SAGAS, 1) == (l) || \
	(waits[(t) % SAGAS] & RESERVE) && wish[(t) % SAGAS] == (l)))
#define COMES(l) (!BLOCKS(0, l) && !BLOCKS(1, l) && !BLOCKS(2, l))
#else
#define COMES(l) true
#endif

/* ---- What no code looks at: whose writes are pending. ---- */

byte pending[SAGAS * LOCKS]; /* of these steps */
bit taken[SAGAS * LOCKS];    /* an operator took the lock away, and what was pending with it */

bit write_under_anothers_lock, lock_lost, oldest_dies, dies_too_often;

#define PENDING(t, s, l) ((t) < SAGAS && (t) != (s) && pending[SL((t) % SAGAS, l)])

inline written(s, l) {
	write_under_anothers_lock = PENDING(0, s, l) || PENDING(1, s, l) || PENDING(2, s, l);
	assert(!write_under_anothers_lock)
}

/* ---- The sagas. ---- */

#define LIVE(s)  (phase[s] != completed && phase[s] != compensated)

/* An older one that lives, or has ended and still has a row that is to be swept up. */
#define BEFORE(t, s) ((t) < SAGAS && age[(t) % SAGAS] < age[s] && (LIVE((t) % SAGAS) || queued[SL((t) % SAGAS, 0)] || queued[SL((t) % SAGAS, 1)]))

inline ask(s, k) {
	flight[s] = flight[s] | DO(k);
	state[SK(s, k)] = sent
}

inline begin(s) {
	phase[s] = forward;
	wish[s] = 0;
	if
#ifdef KEEP_LOCKS
	:: state[SK(s, 0)] == done -> ask(s, 1); barrier[SK(s, 1)] = clear
#endif
	:: else ->
		barrier[SK(s, 0)] = clear;
		barrier[SK(s, 1)] = clear;
		ask(s, 0);
		if
		:: IS(GROUPS, s) -> ask(s, 1)
		:: else
		fi
	fi
}

inline sweepUp(s) {
	sweep[SL(s, 0)] = sweep[SL(s, 0)] | (IS(left[s], 0) << round[s]);
	sweep[SL(s, 1)] = sweep[SL(s, 1)] | (IS(left[s], 1) << round[s]);
	left[s] = 0
}

inline ends(s, how) {
	phase[s] = how;
#ifdef NO_SWEEP
	left[s] = 0;
#else
	sweepUp(s);
#endif
	round[s] = 0; cancels[s] = 0; restart[s] = 0;
	taken[SL(s, 0)] = 0; taken[SL(s, 1)] = 0;
	state[SK(s, 0)] = idle; state[SK(s, 1)] = idle;
	barrier[SK(s, 0)] = clear; barrier[SK(s, 1)] = clear
}

/* All is undone, but what a reservation took, and no step has come to, is still locked. So that is
 * swept up before the saga waits, but nobody waits for the sweep. */
inline startAgain(s) {
	restart[s] = 0;
#ifdef STALE /* whatever else of this round may come late */
	sweep[SL(s, 0)] = sweep[SL(s, 0)] | (1 << round[s]);
	sweep[SL(s, 1)] = sweep[SL(s, 1)] | (1 << round[s]);
#endif
#if !defined(KEEP_RESERVED) && !defined(KEEP_LOCKS)
	if
	:: wish[s] != NONE -> sweepUp(s)
	:: else
	fi;
#endif
	round[s]++;
	dies_too_often = round[s] > MOST(s);
	assert(!dies_too_often);
#ifdef NEW_AGE
	age[s] = youngest;
	youngest++;
#endif
	if
	:: wish[s] == NONE -> begin(s)
	:: else ->
		left[s] = left[s] | (1 << wish[s]);
		phase[s] = reserving;
		flight[s] = flight[s] | RESERVE
	fi
}

#define TO_UNDO(s, k) (state[SK(s, k)] == sent || state[SK(s, k)] == done)

inline undo(s, k) {
	flight[s] = flight[s] | UNDO(k);
	state[SK(s, k)] = undoing;
	reply[SK(s, k)] = none
}

/* From the last step to the first, but the branches of a group at once. A pivot without an answer
 * is barred before anything is undone. */
inline goBack(s) {
	phase[s] = back;
	if
	:: TO_UNDO(s, 1) ->
		undo(s, 1);
		if
		:: IS(GROUPS, s) && TO_UNDO(s, 0) -> undo(s, 0)
		:: else
		fi
	:: !TO_UNDO(s, 1) && TO_UNDO(s, 0) -> undo(s, 0)
	:: !TO_UNDO(s, 1) && !TO_UNDO(s, 0) && (state[SK(s, 0)] == undoing || state[SK(s, 1)] == undoing)
	:: state[SK(s, 0)] == idle && state[SK(s, 1)] == idle && restart[s] -> startAgain(s)
	:: state[SK(s, 0)] == idle && state[SK(s, 1)] == idle && !restart[s] -> ends(s, compensated)
	fi
}

inline unlock(s, k) {
	flight[s] = flight[s] | UNLOCK(k);
	state[SK(s, k)] = unlocking
}

/* The pivot has landed. */
inline goOn(s) {
	phase[s] = decided;
	cancels[s] = 0;
	if
	:: LOCK(s, 0) == LOCK(s, 1) -> unlock(s, 1)
	:: else -> unlock(s, 0)
	fi
}

#define ANSWER(s, k) reply[SK(s, k)]

proctype Saga(byte s) {
end:	do
	:: d_step { phase[s] == forward && state[SK(s, 0)] == done && state[SK(s, 1)] == done -> goOn(s) } /* a local pivot */
	:: d_step { phase[s] == reserving && ANSWER(s, 0) == yes -> ANSWER(s, 0) = none; begin(s) }
	:: d_step { phase[s] == reserving && ANSWER(s, 0) == no -> ANSWER(s, 0) = none; goBack(s) }
	:: d_step { cancels[s] && phase[s] == forward -> cancels[s] = 0; goBack(s) } /* or a deadline has passed */
	:: d_step { cancels[s] && phase[s] == back && restart[s] -> cancels[s] = 0; restart[s] = 0; wish[s] = 0 }
	:: d_step { cancels[s] && phase[s] == reserving -> cancels[s] = 0; ANSWER(s, 0) = none; goBack(s) }
	od
}

hidden mtype what;

/* What the saga makes of the answer of a step. */
inline take(s, k, l) {
	what = ANSWER(s, k);
	ANSWER(s, k) = none;
	if
	:: phase[s] == forward && what == yes ->
		state[SK(s, k)] = done;
		if
		:: PIVOT(s, k) -> goOn(s)
		:: !(k) && !IS(GROUPS, s) -> ask(s, 1)
		:: else
		fi
	:: phase[s] == forward && what == no -> state[SK(s, k)] = idle; goBack(s)
	:: phase[s] == forward && (what == again || what == reread) ->
		state[SK(s, k)] = idle;
		restart[s] = 1;
		wish[s] = (what == again -> l : NONE);
#ifdef KEEP_LOCKS
		startAgain(s)
#else
		goBack(s)
#endif
	:: phase[s] == back && PIVOT(s, k) && what == yes -> goOn(s) /* it had landed before the bar */
	:: phase[s] == back && !(PIVOT(s, k) && what == yes) -> state[SK(s, k)] = idle; goBack(s)
	:: phase[s] == decided && !(k) -> unlock(s, 1)
	:: phase[s] == decided && (k) -> ends(s, completed)
	fi
}

/* ---- A step's participant. ---- */

/* What the saga does not wait for any more it would ignore: that is not even sent. */
inline answer(s, k, awaited, what) {
	if
	:: state[SK(s, k)] == awaited -> reply[SK(s, k)] = what
	:: else
	fi
}

#define ASKS(s, k)  ((flight[s] & DO(k)) && COMES(LOCK(s, k)))
#define DUE(s, k)   ((waits[s] & DO(k)) && FIRST(s, LOCK(s, k)))
#define GRANTED(s, k) (DUE(s, k) || ASKS(s, k) && (FREE(LOCK(s, k)) || FIRST(s, LOCK(s, k))))
#define MEETS(s, k) (ASKS(s, k) && !FREE(LOCK(s, k)) && !FIRST(s, LOCK(s, k)))

inline handled(s, k) {
	flight[s] = flight[s] & ~DO(k);
	waits[s] = waits[s] & ~DO(k)
}

#ifdef BLIND
#define MAY_WRITE(s, l) true
#else
#define MAY_WRITE(s, l) (FREE(l) || FIRST(s, l))
#endif

/* Where another has the lock, nothing is undone or decided: it is refused, and an operator skips it.
 * That comes about only where an operator has taken the lock away. */
inline lost(s, l) {
	lock_lost = !taken[SL(s, l)];
	assert(!lock_lost)
}

proctype Step(byte s; byte k; byte l) {
end:	do
	:: d_step { ANSWER(s, k) != none && phase[s] != reserving -> take(s, k, l) }
	:: d_step { GRANTED(s, k) -> /* it lands */
			written(s, l);
			if
			:: !queued[SL(s, l)] -> join(s, l, STEP(k))
			:: else -> /* its own, by a reservation, another branch or an earlier round: now it is this round's, and the step's */
#ifndef NO_LIFT
				token[SL(s, l)] = round[s];
#endif
#ifdef TAKER
				users[SL(s, l)] = (users[SL(s, l)] == RESERVED -> STEP(k) : users[SL(s, l)])
#else
				users[SL(s, l)] = (users[SL(s, l)] & ~RESERVED) | STEP(k)
#endif
			fi;
			pending[SL(s, l)] = pending[SL(s, l)] | STEP(k);
			barrier[SK(s, k)] = did;
#ifdef EARLY
			leave(s, l, k);
#endif
			handled(s, k);
			answer(s, k, sent, yes) }
	:: d_step { GRANTED(s, k) -> /* a rule refuses it */
			if
			:: waits[s] & DO(k) -> leave(s, l, k)
			:: else
			fi;
			handled(s, k);
			answer(s, k, sent, no) }
	:: d_step { GRANTED(s, k) && rereads > 0 -> /* ... because a value has changed */
			rereads--;
			if
			:: waits[s] & DO(k) -> leave(s, l, k)
			:: else
			fi;
			handled(s, k);
			answer(s, k, sent, reread) }
	:: d_step { MEETS(s, k) && (queued[SL(s, l)] || MAY_WAIT(s, l)) ->
			if
			:: !queued[SL(s, l)] -> join(s, l, STEP(k))
			:: else ->
#ifndef TAKER
				users[SL(s, l)] = users[SL(s, l)] | STEP(k)
#endif
			fi;
			handled(s, k);
			waits[s] = waits[s] | DO(k) }
	:: d_step { MEETS(s, k) && !queued[SL(s, l)] && !MAY_WAIT(s, l) ->
			oldest_dies = MOST0 == 0 && !BEFORE(0, s) && !BEFORE(1, s) && !BEFORE(2, s);
			assert(!oldest_dies);
			handled(s, k);
			answer(s, k, sent, again) }
	:: d_step { (waits[s] & DO(k)) && !FIRST(s, l) && impatient > 0 ->
			impatient--;
			leave(s, l, k);
			handled(s, k);
			answer(s, k, sent, no) }
	:: d_step { (waits[s] & DO(k)) && !queued[SL(s, l)] -> /* an operator has taken its row out: it asks anew */
			handled(s, k);
			flight[s] = flight[s] | DO(k) }
	:: d_step { (flight[s] & UNDO(k)) && (COMES(l) || (waits[s] & DO(k))) ->
			flight[s] = flight[s] & ~UNDO(k);
			if
			:: barrier[SK(s, k)] == did && PIVOT(s, k) -> answer(s, k, undoing, yes)
			:: barrier[SK(s, k)] == did && !PIVOT(s, k) && MAY_WRITE(s, l) ->
				written(s, l);
				pending[SL(s, l)] = pending[SL(s, l)] & ~STEP(k);
				barrier[SK(s, k)] = undone;
				leave(s, l, k);
				answer(s, k, undoing, yes)
			:: barrier[SK(s, k)] == did && !PIVOT(s, k) && !MAY_WRITE(s, l) ->
				lost(s, l);
				barrier[SK(s, k)] = undone;
				answer(s, k, undoing, yes)
			:: barrier[SK(s, k)] != did ->
#ifndef NO_BARRIER /* the do, wherever it is, is refused when it comes, and leaves the queue now */
				if
				:: waits[s] & DO(k) -> leave(s, l, k)
				:: else
				fi;
				handled(s, k);
				barrier[SK(s, k)] = undone;
#endif
#ifdef NO_FENCE
				if
				:: !FREE(l) -> j = AT(l, 0); remove(j, l)
				:: else
				fi;
#endif
				answer(s, k, undoing, no)
			fi }
	:: d_step { (flight[s] & UNLOCK(k)) && COMES(l) ->
			flight[s] = flight[s] & ~UNLOCK(k);
			if
			:: MAY_WRITE(s, l) ->
				written(s, l);
				pending[SL(s, l)] = 0;
				if
				:: queued[SL(s, l)] && token[SL(s, l)] <= round[s] -> remove(s, l)
				:: else
				fi
			:: else -> lost(s, l)
			fi;
			answer(s, k, unlocking, yes) }
	od
}

/* ---- Reservations, sweeps, and the operator. ---- */

inline reserved(s, what) {
	waits[s] = waits[s] & ~RESERVE;
	if
	:: phase[s] == reserving -> reply[SK(s, 0)] = what
	:: else -> wish[s] = 0
	fi
}

#ifdef SWEEP_OVERTAKES
#define SWEEPS(s, l) (sweep[SL(s, l)] != 0)
#else
#define SWEEPS(s, l) (sweep[SL(s, l)] != 0 && !((flight[s] & RESERVE) && wish[s] == (l))) /* of one key, and in this order */
#endif

/* What a saga's own commands, and the operator, do to its row. */
proctype Queue(byte s; byte l) {
	byte r;
end:	do
	:: d_step { (flight[s] & RESERVE) && wish[s] == l && COMES(l) ->
			flight[s] = flight[s] & ~RESERVE;
			assert(!queued[SL(s, l)]);
			join(s, l, RESERVED);
			if
			:: FIRST(s, l) -> reserved(s, yes)
			:: else -> waits[s] = waits[s] | RESERVE
			fi }
	:: d_step { (waits[s] & RESERVE) && wish[s] == l && FIRST(s, l) -> reserved(s, yes) }
	:: d_step { (waits[s] & RESERVE) && wish[s] == l && queued[SL(s, l)] && !FIRST(s, l) && impatient > 0 ->
			impatient--;
			remove(s, l);
			reserved(s, no) }
	:: d_step { (waits[s] & RESERVE) && wish[s] == l && !queued[SL(s, l)] -> /* ... or the saga has ended */
#ifdef SILENT
			waits[s] = waits[s] & ~RESERVE
#else
			reserved(s, no)
#endif
			}
	:: d_step { SWEEPS(s, l) ->
			do
			:: !IS(sweep[SL(s, l)], r) -> r++
			:: else -> break
			od;
			sweep[SL(s, l)] = sweep[SL(s, l)] & ~(1 << r);
			if
#ifdef NO_TOKEN
			:: queued[SL(s, l)] -> remove(s, l)
#else
			:: queued[SL(s, l)] && token[SL(s, l)] <= r -> remove(s, l)
#endif
			:: else
			fi;
			r = 0 }
	:: d_step { forced > 0 && queued[SL(s, l)] -> /* the operator */
			forced--;
			taken[SL(s, l)] = 1;
			pending[SL(s, l)] = 0;
			remove(s, l) }
	od
}

/* ---- What must hold when nothing moves any more. No step can be taken for ever (run checks
 * that there is no cycle), so every run gets here. ---- */

bit saga_hangs, row_left, message_left, effect_left;

proctype Rest() {
	byte s, l;
	atomic {
		timeout ->
		do
		:: s < SAGAS ->
			saga_hangs = saga_hangs || LIVE(s);
			message_left = message_left || flight[s] || waits[s];
			l = 0;
			do
			:: l < LOCKS ->
				row_left = row_left || queued[SL(s, l)];
				effect_left = effect_left || pending[SL(s, l)];
				l++
			:: else -> break
			od;
			s++
		:: else -> break
		od;
		assert(!saga_hangs);
		assert(!row_left);
		assert(!message_left);
		assert(!effect_left)
	}
}

init {
	byte s;
	atomic {
		/* Whoever may still step in from outside would hide a deadlock: so all may turn out never to. */
		do
		:: s < SAGAS ->
			age[s] = s;
			if
			:: IS(CANCELS, s) -> cancels[s] = 1
			:: true
			fi;
			begin(s);
			s++
		:: else -> break
		od;
		if
		:: impatient = IMPATIENT
		:: IMPATIENT > 0 -> impatient = 0
		fi;
		if
		:: forced = FORCED
		:: FORCED > 0 -> forced = 0
		fi;
		if
		:: rereads = REREADS
		:: REREADS > 0 -> rereads = 0
		fi;
		s = 0;
		do
		:: s < SAGAS ->
			run Saga(s);
			run Step(s, 0, LOCK(s, 0));
			run Step(s, 1, LOCK(s, 1));
			run Queue(s, 0);
			run Queue(s, 1);
			s++
		:: else -> break
		od;
		s = 0;
		run Rest()
	}
}
