/* The world the writers live in: journal, marks, lock, metastore, messages in flight. It decides nothing.
 *
 * A version number is also what the metastore stores for a partition (`sfbatch.version`); its rows follow from the
 * journal, as a batch directory is immutable. `st` holds what a version says of a partition: 0 = not touched,
 * TOUCHED = now absent, TOUCHED|PRESENT|rows = now these rows (bit 0: the first row; bit w: the row writer w adds). */

#define NP      2                                   /* partitions */
#define ABSENT  0                                   /* metastore: no such partition */
#define EMPTY   1                                   /* metastore: added at an empty directory, not yet published */
#define FIRST   2                                   /* the version the table starts with */
#ifndef MAXV
#define MAXV    (FIRST + CLIENTS * 2 + DROPS * 2 + REFUSALS + 1)
#endif
#define TOUCHED 128
#define PRESENT 64
#define ROWS(s) ((s) & 31)
#define SAYS(v, p) st[(v) * NP + (p)]
#define HERE(v, p) ((SAYS(v, p) & PRESENT) != 0)

mtype = { append, overwrite, rollback, external, abort, recover }
#define ADD   1                                     /* metastore requests, in the order a publish makes them */
#define ALTER 2
#define DROP  3

/* fault budgets, each spent at any moment */
byte late = LATE, crashes = CRASHES, steals = STEALS, refusals = REFUSALS, drops = DROPS;

byte  top = FIRST;                                  /* the journal: versions FIRST..top exist */
mtype kind[MAXV];
byte  st[MAXV * NP];
byte  mark[MAXV];                                   /* <n>.done: 0 none, 1 shown, 2 refused */
byte  meta[NP];                                     /* the metastore: ABSENT, EMPTY or a version */
byte  holder;                                       /* the lock */
byte  dead;                                         /* bit per client */
byte  running;
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
hidden byte p, v, u, w;

/* out = the newest version <= upto that says something of partition x, or 0 */
inline newest(x, upto, out) {
  out = upto;
  do
  :: out >= FIRST && SAYS(out, x) == 0 -> out--
  :: else -> break
  od;
  if :: out < FIRST -> out = 0 :: else fi
}

/* Is what partition x shows (at) the state version y gave it? A rollback's removed partition must be gone; an external
 * or aborted one may stay as an empty directory (tombstone), because we never call drop_partition for those. */
#define SHOWS(y, x, at) ((HERE(y, x) && (at) == (y)) || \
                         (!HERE(y, x) && ((at) == ABSENT || ((at) == (y) && kind[y] != rollback))))

inline look() {                                     /* after each change of the metastore */
  whole = true; p = 0;
  do
  :: p < NP -> if :: SAYS(top, p) && !SHOWS(top, p, meta[p]) -> whole = false :: else fi; p++
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
        if
        :: any && SAYS(v, p) && meta[p] < v ->      /* p lags: then it has no rows, as v or a younger says */
           u = v;
           do :: u < top && (!SAYS(u, p) || HERE(u, p)) -> u++ :: else -> break od;
           whole = meta[p] <= EMPTY && (SAYS(u, p) && !HERE(u, p) || excused[p]);
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
        assert(rk != ALTER || q[p] >= meta[p]);                           /* P: never back */
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
    if :: ok && rk == ADD -> ambiguous = true :: else fi
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
    newest(x, v - 1, u);
    excused[x] = excused[x] | ROWS(SAYS(meta[x], x)) | ROWS(SAYS(v, x));
    if :: u -> excused[x] = excused[x] | ROWS(SAYS(u, x)) :: else fi;
    if
    :: mark[v] == 1 -> gone[x] = gone[x] | ROWS(SAYS(v, x)) | ROWS(SAYS(meta[x], x))
    :: mark[v] != 1 && kind[v] == abort -> gone[x] = gone[x] | ROWS(SAYS(v, x))
    :: mark[v] != 1 && kind[v] == append && u && HERE(u, x) -> gone[x] = gone[x] | ROWS(SAYS(u, x))
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
