/* sfbatch's publish protocol under faults: who runs, and what must hold in the end. See README.md; run by ./check. */

#include "world.pml"
#include "client.pml"

/* the metastore shows what replaying the journal gives */
inline agrees() {
  p = 0;
  do
  :: p < NP ->
     newest(p, top, v);
     /* what others dropped of what is older than an hour, only its next writer sees */
     any = aged && v <= aged && meta[p] == ABSENT && excused[p];
     assert(SHOWS(v, p, meta[p]) || any);                                 /* P: metastore==journal */
     p++
  :: else -> break
  od
}

/* what a late call left is gone after the next writer, whatever that one writes; what others dropped is not its business */
inline nothing_stale() {
  p = 0;
  do
  :: p < NP ->
     newest(p, top, v);
     assert(SHOWS(v, p, meta[p]) || (meta[p] == ABSENT && excused[p]));   /* P: stale view ends */
     p++
  :: else -> break
  od
}

inline nothing_lost() {
  w = 1;
  do
  :: w <= CLIENTS ->
     v = published[w];
     if
     :: v ->
        whole = v < top && kind[v + 1] == abort;    /* whole: its version was aborted */
        assert(!acked[w] || mark[v] == 1 && !whole);                      /* P: aborted is reported */
        p = 0;
        do
        :: p < NP ->
           newest(p, top, u);
           ok = u && (ROWS(SAYS(u, p)) & (1 << w));
           any = excused[p] & (1 << w);             /* any: it may be missing */
           q[0] = v + 1;
           do
           :: q[0] <= top ->
              if
              :: SAYS(q[0], p) && mark[q[0]] != 2 && (kind[q[0]] == overwrite || kind[q[0]] == rollback) -> any = true
              :: else
              fi; q[0]++
           :: else -> break
           od;
           if
           :: SAYS(v, p) && kind[v] != rollback -> assert(ok || any || whole || !acked[w])   /* P: no row lost */
           :: else
           fi;
           assert(!whole || !ok); p++                                     /* P: aborted is invisible */
        :: else -> break
        od
     :: else
     fi; w++
  :: else -> break
  od;
  p = 0;
  do
  :: p < NP ->
     newest(p, top, u);
     assert(ambiguous || u == 0 || meta[p] == ABSENT || (ROWS(SAYS(u, p)) & gone[p]) == 0);   /* P: drops stay */
     p++
  :: else -> break
  od
}

init {
  atomic {
    kind[FIRST] = overwrite; mark[FIRST] = 1; SAYS(FIRST, 0) = TOUCHED | PRESENT | 1; meta[0] = FIRST;
    running = CLIENTS;
    run network(); run outsider();
    run client(1, append, 3);
#if CLIENTS > 1
    if
    :: run client(2, append, 1)
    :: run client(2, overwrite, 3)
    :: run client(2, rollback, 3)
    fi;
#endif
#if CLIENTS > 2
    run client(3, append, 2);
#endif
  }
  atomic { running == 0 && _nr_pr == 1 }            /* quiescence: all returned or died, all messages landed */
#ifndef ROWS_ONLY
  d_step { if :: !disturbed -> agrees() :: else fi };                     /* when nobody failed, nothing to mend */
#endif
#if HOURS
  if :: hours > 0 -> hour() :: true fi;
#endif
  atomic { crashes = 0; late = 0; steals = 0; refusals = 0; holder = 0; dead = 0; refuser = 0; running = 1; run client(0, passer_by, 0) }
  atomic { running == 0 && _nr_pr == 1 }
#ifndef ROWS_ONLY
  d_step { nothing_stale() }
#endif
  atomic { holder = 0; running = 1; run client(0, recover, 0) }
  atomic { running == 0 && _nr_pr == 1 }
#ifndef ROWS_ONLY
  d_step { agrees() };
#endif
  d_step { nothing_lost() }
}
