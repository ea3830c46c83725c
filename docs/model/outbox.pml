/*
 * Several senders' outboxes, a relay for each, one partition of a broker that may lose what it
 * has not synced, or be wiped or restored from an older copy, and one reader: whatever was
 * committed is handled once, and each sender's messages in their order.
 *
 * saga.pml has one sender in each direction, and takes for granted what is checked here: that
 * a position or a checkpoint that speaks of what the broker has lost is known as such.
 *
 * Bounds: two senders, three messages, CRASHES failures of the broker or a relay, of which
 * RESTORES may lose what was synced.
 *
 * Broken twins: POSITION_BY_ID, NO_MARK, RECONNECT.
 */

#ifndef CRASHES
#define CRASHES 2
#endif
#ifndef RESTORES
#define RESTORES 1
#endif

#define SENDERS  2
#define MESSAGES 3
#define LOG      32

/* Messages 0 and 1 are sender 0's, 2 is sender 1's. */
#define FIRST(s) ((s) + ((s) > 0))
#define ROWS(s)  (1 + ((s) == 0))

typedef Sender {
	byte checkpoint;  /* in its database: so many rows are settled */
	byte mark;        /* ... the last of which was then the mark'th message of the partition */
	byte incarnation; /* ... of this incarnation */
	bit open;         /* a session with the broker */
	byte from;        /* where the session began */
	byte published;   /* how far it has come */
	byte session      /* the incarnation that it found */
}
Sender sender[SENDERS];
byte at[MESSAGES]; /* where the session put it, counted from 1 */

byte log[LOG], stored, synced, incarnation;
byte crashes = CRASHES, restores = RESTORES;

/* The reader's position, in its database; spoilt says that the broker has lost the message at
 * it. The reader does not see that, but the moment that is stored with the position tells. */
byte position, positionId, positionIncarnation;
bit spoilt, reading;
byte readerIncarnation;
byte handled;

bit out_of_order, message_lost;
byte i;

#define LAST(s)  (FIRST(s) + sender[s].checkpoint - 1)
#define HOLDS(s) (sender[s].incarnation == incarnation && sender[s].mark <= stored && log[sender[s].mark - 1] == LAST(s))

inline endSession(s) {
	sender[s].open = 0;
	sender[s].from = 0;
	sender[s].published = 0;
	sender[s].session = 0;
	at[FIRST(s)] = 0;
	at[FIRST(s) + ROWS(s) - 1] = 0
}

proctype Relay(byte s) {
end:	do
	:: d_step { !sender[s].open -> /* compare the broker with the mark */
			sender[s].from = sender[s].checkpoint;
#ifndef NO_MARK
			if
			:: sender[s].checkpoint > 0 && !HOLDS(s) ->
				sender[s].from = 0; /* everything again */
				if
				:: sender[s].incarnation == incarnation -> incarnation++ /* so that all others notice */
				:: else -> skip
				fi
			:: else -> skip
			fi;
#endif
			sender[s].published = sender[s].from;
			sender[s].session = incarnation;
			sender[s].open = 1 }
	:: d_step { sender[s].open && sender[s].published < ROWS(s) ->
			assert(stored < LOG);
			log[stored] = FIRST(s) + sender[s].published;
			stored++;
			at[FIRST(s) + sender[s].published] = stored;
			sender[s].published++ }
	:: d_step { sender[s].open && sender[s].session != incarnation -> endSession(s) }
	:: d_step { crashes > 0 && sender[s].open && sender[s].session == incarnation && /* settle */
			sender[s].from < sender[s].published &&
			(sender[s].checkpoint != sender[s].published || sender[s].incarnation != incarnation) &&
			at[FIRST(s) + sender[s].published - 1] <= synced ->
			sender[s].checkpoint = sender[s].published;
			sender[s].mark = at[FIRST(s) + sender[s].published - 1];
			sender[s].incarnation = incarnation }
	od
}

#ifdef POSITION_BY_ID
#define SPOILT false
#else
#define SPOILT spoilt
#endif

proctype Reader() {
end:	do
	:: d_step { !reading ->
			if
			:: position > 0 && (positionIncarnation != incarnation || position > stored || log[position - 1] != positionId || SPOILT) ->
				position = 0; positionId = 0; positionIncarnation = 0
			:: else -> skip
			fi;
			spoilt = 0;
			readerIncarnation = incarnation;
			reading = 1 }
	:: d_step { reading && position < stored -> /* the transaction: inbox, handler, position */
			positionId = log[position];
			positionIncarnation = readerIncarnation;
			position++;
			if
			:: handled & (1 << positionId) -> skip
			:: else ->
				out_of_order = positionId == 1 && !(handled & 1);
				assert(!out_of_order);
				handled = handled | (1 << positionId)
			fi }
	od
}

inline lose(least) {
	do
	:: stored > least -> stored--; log[stored] = 0
	:: break
	od;
	synced = (synced > stored -> stored : synced);
	spoilt = spoilt || position > stored;
	reading = 0;
	readerIncarnation = 0;
#ifndef RECONNECT
	endSession(0); endSession(1)
#endif
}

proctype Broker() {
end:	do
	:: crashes > 0 && synced < stored -> synced = stored /* nobody asks when nothing will fail any more */
	:: atomic { crashes > 0 && stored > synced -> crashes--; lose(synced) }
	:: atomic { crashes > 0 && restores > 0 && synced > 0 -> /* an older copy, or an empty disk */
			crashes--; restores--;
			lose(0);
			if
			:: stored == 0 -> incarnation++ /* made anew */
			:: true
			fi }
	:: atomic { crashes > 0 -> crashes--; /* a relay dies */
			if
			:: sender[0].open -> endSession(0)
			:: sender[1].open -> endSession(1)
			fi }
	:: crashes > 0 -> crashes = 0; restores = 0 /* no more */
	od
}

proctype Rest() {
	atomic {
		timeout ->
		message_lost = handled != (1 << MESSAGES) - 1;
		assert(!message_lost)
	}
}

init {
	atomic {
		incarnation = 1;
		run Relay(0); run Relay(1);
		run Reader();
		run Broker();
		run Rest()
	}
}
