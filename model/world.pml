/* The world the writers live in: journal, marks, lock, metastore, messages in flight. It decides nothing.
 *
 * A version number is also what the metastore stores for a partition (`sfbatch.version`); its rows follow from the
 * journal, as a batch directory is immutable. `st` holds what a version says of a partition: 0 = not touched,
 * TOUCHED = now absent, TOUCHED|PRESENT|rows = now these rows (bit 0: the first row; bit w: the row writer w adds),
 * TOUCHED|PRESENT|AS_IN|v = as version v left it (what an abort gives back shows its old version again). */

#define NP      2                                   /* partitions */
#define ABSENT  0                                   /* metastore: no such partition */
#define EMPTY   1                                   /* metastore: added at an empty directory, not yet published */
#define FIRST   2                                   /* the version the table starts with */
#ifndef HOURS
#define HOURS   0
#endif
#ifndef MAXV
#define MAXV    (FIRST + CLIENTS * 2 + DROPS * 3 + REFUSALS + LATE + 1)
#endif
#define TOUCHED 128
#define PRESENT 64
#define AS_IN   32
#define ROWS(s) ((s) & 31)
#define SAYS(v, p) st[(v) * NP + (p)]
#define HERE(v, p) ((SAYS(v, p) & PRESENT) != 0)

mtype = { append, overwrite, rollback, external, abort, recover, passer_by }
#define ADD   1                                     /* metastore requests, in the order a publish makes them */
#define ALTER 2
#define DROP  3

/* fault budgets, each spent at any moment */
byte late = LATE, crashes = CRASHES, steals = STEALS, refusals = REFUSALS, drops = DROPS, hours = HOURS;

byte  top = FIRST;                                  /* the journal: versions FIRST..top exist */
mtype kind[MAXV];
byte  st[MAXV * NP];
byte  mark[MAXV];                                   /* <n>.done: 0 none, 1 shown, 2 refused */
byte  meta[NP];                                     /* the metastore: ABSENT, EMPTY or a version */
byte  unclear;                                      /* partitions (bits) that an unclear mark names */
byte  unclear_old;                                  /* the same, of marks from before the hour that passed */
byte  aged;                                         /* versions up to it were journalled before the hour that passed */
byte  holder;                                       /* the lock */
byte  inside;                                       /* clients between step 5 and their end */
byte  dead;                                         /* bit per client */
byte  running;
byte  refuser;                                      /* who refused an abort that is the newest version, while it is about */
byte  unpublishable;                                /* the version the metastore refuses for good */

#define SLOTS (LATE + 1)
byte  f_kind[SLOTS];                                /* calls whose client gave up: they land later, or never */
byte  f_set[SLOTS * NP];

/* What only the properties look at */
bool shown_once;                                    /* top was wholly visible at some moment */
byte excused[NP];                                   /* rows somebody else dropped */
byte gone[NP];                                      /* those of them that no append may bring back */
bool ambiguous;                                     /* a rollback, or an add that came late, may bring them back */
bool disturbed;                                     /* a crash, a late call or a foreign drop happened */
byte published[CLIENTS + 1];                        /* the version a client made */
bool acked[CLIENTS + 1];

hidden byte rk, q[NP];               /* the request being applied */
hidden byte ok, any, whole;
hidden byte p, v, u, w, c, hz, to;

/* out = the newest version <= upto that says something of partition x, or 0 */
inline said(x, upto, out) {
  out = upto;
  do
  :: out >= FIRST && SAYS(out, x) == 0 -> out--
  :: else -> break
  od;
  if :: out < FIRST -> out = 0 :: else fi
}

/* out = the version partition x shows after version upto, or 0: replay */
inline newest(x, upto, out) {
  said(x, upto, out);
  if :: SAYS(out, x) & AS_IN -> out = ROWS(SAYS(out, x)) :: else fi
}

/* `at` in the metastore is the empty directory: no row. */
#define PLACE(x, at) ((at) == EMPTY || ((at) > EMPTY && !HERE(at, x)))
/* Is what partition x shows (at) what replay gives (y)? Absent may also be there as the empty directory. */
#define SHOWS(y, x, at) ((HERE(y, x) && (at) == (y)) || (!HERE(y, x) && ((at) == ABSENT || PLACE(x, at))))

inline look() {                                     /* after each change of the metastore */
  whole = true; p = 0;
  do
  :: p < NP ->
     newest(p, top, v);
     if :: SAYS(top, p) && !SHOWS(v, p, meta[p]) -> whole = false :: else fi; p++
  :: else -> break
  od;
  if :: whole && mark[top] == 0 -> shown_once = true :: else fi;
#ifdef CALM
  /* Without late calls and lost locks a version is visible whole or not at all, to every request. */
  v = FIRST;
  do
  :: v <= top ->
     any = false; p = 0;
     do :: p < NP -> if :: SAYS(v, p) && meta[p] == v -> any = true :: else fi; p++ :: else -> break od;
     p = 0;
     do
     :: p < NP ->
        u = (SAYS(v, p) & AS_IN -> ROWS(SAYS(v, p)) : v);
        if
        :: any && SAYS(v, p) && meta[p] < v && meta[p] != u ->   /* p lags: then it has no rows, as v or a younger says */
           u = v;
           do :: u < top && (!SAYS(u, p) || HERE(u, p)) -> u++ :: else -> break od;
           whole = (meta[p] == ABSENT || PLACE(p, meta[p])) && (SAYS(u, p) && !HERE(u, p) || excused[p]);
           assert(whole)                                                  /* P: whole */
        :: else
        fi; p++
     :: else -> break
     od; v++
  :: else -> break
  od;
#endif
  skip
}

/* One metastore transaction: all of q or nothing. add: none may exist; alter: all must. */
inline apply() {
  printf("  request %d (1 add, 2 alter, 3 drop): %d %d\n", rk, q[0], q[1]);
  ok = true; p = 0;
  do
  :: p < NP ->
     if
     :: q[p] && ((rk == ADD && meta[p] != ABSENT) || (rk == ALTER && meta[p] == ABSENT)) -> ok = false
     :: else
     fi; p++
  :: else -> break
  od;
  p = 0;
  do
  :: p < NP ->
     if
     :: ok && q[p] ->
#ifdef CALM
        /* only an abort goes back, from what was refused */
        assert(rk != ALTER || q[p] >= meta[p] || mark[meta[p]] == 2);     /* P: never back */
#endif
        if :: rk == DROP -> meta[p] = ABSENT :: else -> meta[p] = q[p] fi
     :: else
     fi; p++
  :: else -> break
  od;
  look()
}

inline keep_in_flight() {
  late--; disturbed = true; f_kind[late] = rk; p = 0;
  do :: p < NP -> f_set[late * NP + p] = q[p]; p++ :: else -> break od;
  skip
}

inline land(i) {
  d_step {
    rk = f_kind[i]; f_kind[i] = 0; p = 0;
    do :: p < NP -> q[p] = f_set[i * NP + p]; f_set[i * NP + p] = 0; p++ :: else -> break od;
    printf("lands late:"); apply();
    p = 0;                                          /* an add of what the journal holds: had somebody dropped it? */
    do
    :: p < NP ->
       newest(p, top, v);
       if :: ok && rk == ADD && q[p] && HERE(v, p) -> ambiguous = true :: else fi; p++
    :: else -> break
    od
  }
}

/* More than an hour passes with nobody at it: calls under way have landed or are lost. */
inline hour() {
  d_step {
    hours--; aged = top; unclear_old = unclear_old | unclear; unclear = 0; p = 0;
#ifdef BUG_MARKS_BY_CLOCK
    unclear_old = 0;
#endif
    do :: p < SLOTS -> f_kind[p] = 0; f_set[p * NP] = 0; f_set[p * NP + 1] = 0; p++ :: else -> break od;
    printf("somebody waits: an hour passes\n")
  }
}

/* The network: an abandoned call lands at any later moment. */
proctype network() {
  byte i;
end:
  do
  :: atomic { f_kind[0] != 0 -> land(0) }
#if LATE > 1
  :: atomic { f_kind[1] != 0 -> land(1) }
#endif
#if HOURS
  :: atomic { hours > 0 && inside == 0 && running > 0 && top > FIRST -> hour() }
#endif
  :: atomic { running == 0 -> break }
  od;
  do                                                /* quiescence: each one lands now, or is lost */
  :: atomic { i < SLOTS && f_kind[i] != 0 -> land(i); i++ }
  :: atomic { i < SLOTS -> f_kind[i] = 0; f_set[i * NP] = 0; f_set[i * NP + 1] = 0; i++ }
  :: i == SLOTS -> break
  od
}

inline foreign_drop(x) {
  d_step {
    drops--; disturbed = true; printf("somebody else drops partition %d\n", x);
    newest(x, top, v);
    excused[x] = excused[x] | ROWS(SAYS(meta[x], x)) | ROWS(SAYS(v, x));
    said(x, top, w);
    newest(x, w - 1, u);
    if :: u -> excused[x] = excused[x] | ROWS(SAYS(u, x)) :: else fi;
    if
    :: mark[w] == 1 -> gone[x] = gone[x] | ROWS(SAYS(v, x)) | ROWS(SAYS(meta[x], x))
    :: mark[w] != 1 && kind[w] == abort -> gone[x] = gone[x] | ROWS(SAYS(v, x))
    :: mark[w] != 1 && kind[w] == append && u && HERE(u, x) -> gone[x] = gone[x] | ROWS(SAYS(u, x))
    :: else                                         /* not yet .done: may count as dropped before it was written */
    fi;
    meta[x] = ABSENT;
    look()
  }
}

/* Somebody else, retention for instance, drops partitions. */
proctype outsider() {
end:
  do
  :: atomic { running > 0 && drops > 0 && meta[0] >= FIRST && HERE(meta[0], 0) -> foreign_drop(0) }
  :: atomic { running > 0 && drops > 0 && meta[1] >= FIRST && HERE(meta[1], 1) -> foreign_drop(1) }
  :: atomic { running == 0 -> break }
  od
}
