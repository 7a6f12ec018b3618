/* A client of the protocol: a writer (append, overwrite, rollback) or a recoverer. Labels carry the step numbers of
 * PROTOCOL.md. Each label is one request to the journal or the metastore; between two of them anything may happen.
 * Safety must never rest on the lock. */

mtype = { again, publish, finish, refuse, undo, others, clean, mine_is_done }

#define MAY_DIE if :: crashes > 0 -> crashes--; disturbed = true; printf("client %d dies\n", me); goto died :: true fi
#define CLOSED(y) (mark[y] == 1 || ((y) < top && kind[(y) + 1] == abort))
#define REFUSABLE(y) (kind[y] == append || kind[y] == overwrite || kind[y] == rollback)

#ifdef BUG_APPEND_READDS
#define NEVER_READDED(k) ((k) == abort)
#elif defined(BUG_OVERWRITE_READDS)
#define NEVER_READDED(k) ((k) == append || (k) == abort)
#else
#define NEVER_READDED(k) true
#endif

#ifdef BUG_LATE_DROP_IS_FOREIGN
#define DROP_KIND(k) false
#else
#define DROP_KIND(k) ((k) == rollback)
#endif
/* we = did a version <= upto of ours call drop_partition on x? Such a call may land late. */
inline we_dropped(x, upto, we) {
  we = false; w = FIRST;
  do
  :: w <= upto -> if :: DROP_KIND(kind[w]) && SAYS(w, x) == TOUCHED -> we = true :: else fi; w++
  :: else -> break
  od;
  skip
}

/* Steps 6 and 7 as one pure function of the journal up to n, n's mark and what the metastore showed (m):
 * what must be done next, and with which requests (a = add, t = alter, d = drop). */
inline decide() {
  act = clean; x = 0;
  p = 0; do :: p < NP -> a[p] = 0; t[p] = 0; d[p] = 0; p++ :: else -> break od;
  p = 0;
  do
  :: p < NP ->
     newest(p, n, v);
     if
     :: m[p] > n -> act = again                     /* shows a version younger than our list */
     :: m[p] <= n && v && (sm == 1 || v == n) ->
        if
        :: SHOWS(v, p, m[p])
        :: !SHOWS(v, p, m[p]) ->
           newest(p, v - 1, u); we_dropped(p, n, ok);
           if
#ifndef BUG_NO_METASTORE_CHECK
           :: sm == 1 && HERE(v, p) && m[p] == ABSENT && !ok -> x = x | (1 << p)
#endif
           /* an unfinished version found its partition gone: to add it again could revive what was dropped */
           :: sm == 0 && HERE(v, p) && m[p] == ABSENT && !ok && u && HERE(u, p) && NEVER_READDED(kind[n]) ->
              x = x | (1 << p)
#ifdef BUG_NO_REASSERT
           :: sm == 1 && m[p] != ABSENT
#endif
           :: else -> t[p] = v
           fi
        fi
     :: else
     fi; p++
  :: else -> break
  od;
  any = false; whole = true;                        /* whole: every target is new */
  p = 0;
  do
  :: p < NP ->
     if
     :: t[p] -> any = true; if :: m[p] == ABSENT && HERE(t[p], p) :: else -> whole = false fi
     :: else
     fi; p++
  :: else -> break
  od;
  if
  :: act == again
  :: act != again && sm == 2 -> act = undo
  :: act != again && sm == 0 && x -> act = refuse
  :: act != again && sm == 1 && x -> act = others
  :: act != again && sm != 2 && !x && any -> act = publish;
     p = 0;
     do
     :: p < NP ->
        v = t[p];
        if
        :: v && HERE(v, p) && m[p] == ABSENT && whole -> a[p] = v; t[p] = 0
#ifdef BUG_ADD_AT_FINAL_LOCATION
        :: v && HERE(v, p) && m[p] == ABSENT && !whole -> a[p] = v
#else
        :: v && HERE(v, p) && m[p] == ABSENT && !whole -> a[p] = EMPTY
#endif
        :: v && !HERE(v, p) && m[p] != ABSENT ->    /* an empty directory in the one alter, then the drop */
           if
#ifdef BUG_ABSENCE_BY_DROP
           :: true -> d[p] = 1
#else
           :: kind[v] == rollback -> d[p] = 1
           :: kind[v] != rollback
#endif
           fi;
#ifdef BUG_DROP_WITHOUT_EMPTYING
           t[p] = 0
#else
           if :: m[p] == v -> t[p] = 0 :: m[p] != v fi
#endif
        :: else
        fi; p++
     :: else -> break
     od
  :: act != again && sm == 0 && !x && !any -> act = finish
  :: act != again && sm == 1 && !x && !any
  fi
}

inline forget() { a[0] = 0; a[1] = 0; t[0] = 0; t[1] = 0; d[0] = 0; d[1] = 0; call = 0 }

/* q = the partitions of the request `call` */
inline take_request() {
  rk = call; p = 0;
  do
  :: p < NP -> q[p] = (call == ADD -> a[p] : (call == ALTER -> t[p] : d[p])); p++
  :: else -> break
  od;
  skip
}

inline new_version(k) {
  top++; assert(top < MAXV); kind[top] = k; shown_once = false
}

proctype client(byte me; mtype op; byte parts) {
  byte n, sm, mine, x, rounds, call; mtype act;
  byte m[NP], a[NP], t[NP], d[NP], base[NP];

  d_step {                                          /* 2, 3: the state an append copies */
    p = 0;
    do
    :: p < NP -> if :: (parts & (1 << p)) && op == append -> newest(p, top, base[p]) :: else fi; p++
    :: else -> break
    od
  }
s5_lock:
  atomic {
    if
    :: holder == 0
    :: holder != 0 && (dead & (1 << holder))        /* no heartbeat: a waiter unlocks it */
    :: holder != 0 && !(dead & (1 << holder)) && steals > 0 -> steals--   /* paused, or lost */
    fi;
    printf("client %d takes the lock from %d\n", me, holder); holder = me
  }
s6_list:
  atomic {
    MAY_DIE;
    d_step {
      n = top; sm = mark[n]; printf("client %d LISTs: n=%d mark=%d\n", me, n, sm); rounds = (op == recover -> rounds + 1 : 0);
      assert(rounds < 9);                           /* P: recoverer finishes */
      v = FIRST;
      do :: v < top -> assert(CLOSED(v)); v++ :: else -> break od   /* P: one unfinished */
    };
    if :: mine && mine == n && sm == 1 -> goto done :: else fi
  }
s6_read:
s10_read:
  atomic {
    MAY_DIE;
    d_step {
      p = 0; do :: p < NP -> m[p] = meta[p]; p++ :: else -> break od;
      decide();
      printf("client %d reads the metastore: %d %d -> %e\n", me, m[0], m[1], act)
    };
    if
    :: act == again   -> act = 0; m[0] = 0; m[1] = 0; goto s6_list
    :: act == publish -> act = 0; goto s9_publish
    :: act == finish  -> act = 0; m[0] = 0; m[1] = 0; goto s10_done
    :: act == refuse  -> act = 0; goto refused
    :: act == undo    -> act = 0; goto abort_it
    :: act == others  -> act = 0; goto external_first
    :: act == clean   -> act = 0
    fi;
    if
    :: mine || op == recover -> goto done
    :: else
    fi
  }

s8_journal:
  atomic {
    MAY_DIE;
#ifndef BUG_RECOMPUTED_NUMBER
    if :: top != n -> m[0] = 0; m[1] = 0; goto s6_list :: else fi;
#endif
#ifndef BUG_NO_BASE_CHECK
    d_step {
      any = false; p = 0;
      do
      :: p < NP ->
         if
         :: op == append && (parts & (1 << p)) ->
            newest(p, n, v); if :: v != base[p] -> any = true; base[p] = v :: else fi
         :: else
         fi; p++
      :: else -> break
      od
    };
    if                                              /* copy again, never under the lock */
    :: any -> m[0] = 0; m[1] = 0; if :: holder == me -> holder = 0 :: else fi; goto s5_lock
    :: else
    fi;
#endif
    d_step {
      new_version(op); p = 0;
      do
      :: p < NP ->
         if
         :: (parts & (1 << p)) && op == append ->
            SAYS(top, p) = TOUCHED | PRESENT | (1 << me) | (base[p] -> ROWS(SAYS(base[p], p)) : 0)
         :: (parts & (1 << p)) && op == overwrite -> SAYS(top, p) = TOUCHED | PRESENT | (1 << me)
         :: (parts & (1 << p)) && op == rollback ->
            SAYS(top, p) = TOUCHED | SAYS(FIRST, p); ambiguous = true
         :: else
         fi;
         base[p] = 0; p++
      :: else -> break
      od;
      mine = top; published[me] = top;
      n = top; sm = 0; decide(); act = 0;
      printf("client %d journals %e %d: %d %d\n", me, op, n, SAYS(n, 0), SAYS(n, 1))
    }
  }
s9_publish:                                         /* add_partitions, alter_partitions, drop_partitions: those it needs */
  atomic {
    d_step {
      call++; any = false;
      do
      :: call <= DROP && !any ->
         take_request();
         if :: q[0] || q[1] -> any = true :: else -> call++ fi
      :: else -> break
      od
    };
    if :: call > DROP -> goto s9_answered :: else fi
  }
#ifdef BUG_ALTER_ONE_BY_ONE
  if
  :: call == ALTER && t[0] && t[1] -> d_step { rk = ALTER; q[0] = t[0]; q[1] = 0; t[0] = 0; apply() }
  :: else
  fi;
#endif
  atomic {
    MAY_DIE;
    if
    :: sm == 0 && REFUSABLE(n) && (unpublishable == n || (refusals > 0 && unpublishable == 0)) ->
       if :: unpublishable == 0 -> refusals--; unpublishable = n :: else fi;
       printf("client %d: the metastore refuses %d for good\n", me, n);
       d_step { forget() };
#ifdef BUG_NO_ABORT
       m[0] = 0; m[1] = 0;
       if :: op == recover -> goto s6_list :: else -> disturbed = true; goto died fi
#else
       goto refused
#endif
    :: !(sm == 0 && unpublishable == n) ->          /* answered, or only the answer was lost: read again either way */
       d_step {
         take_request(); printf("client %d calls", me); apply();
         /* we were paused since our LIST, others finished n, somebody dropped the partition: nothing can tell */
         if :: ok && rk == ADD && sm == 0 && mark[n] == 1 -> ambiguous = true :: else fi
       };
       if :: ok -> goto s9_publish :: else -> goto s9_answered fi
    :: !(sm == 0 && unpublishable == n) && late > 0 ->
       d_step { take_request(); keep_in_flight(); printf("client %d gives up on\n", me) };
#ifdef BUG_CLIENT_RETRY
       d_step { take_request(); apply() };          /* the client library sent it again, and that one was answered */
       if :: ok -> goto s9_publish :: else fi;
#endif
       goto s9_answered
    fi
  }
s9_answered:
  atomic {
    d_step { forget() };
#ifdef BUG_DONE_BEFORE_REREAD
    if :: sm == 0 -> goto s10_done :: else fi;
#endif
#ifndef BUG_NO_LIST_AFTER_REASSERT
    if :: sm == 1 -> goto s6_list :: else fi;       /* this alter too may have hidden a younger version */
#endif
    goto s10_read
  }

s10_done:                                           /* createExclusive <n>.done "shown" */
  atomic {
    MAY_DIE;
    d_step {
      m[0] = 0; m[1] = 0;
      if
      :: mark[n] == 0 ->
         if :: n == top -> assert(shown_once); shown_once = false :: else fi;   /* P: done was visible */
         mark[n] = 1; printf("client %d marks %d shown\n", me, n)
      :: else
      fi
    };
#ifdef BUG_NO_LIST_AFTER
    if :: mine == n -> goto done :: else fi;
#endif
    goto s6_list                                    /* a younger version? then re-assert before returning */
  }

refused:                                            /* createExclusive <n>.done "refused" */
#ifndef BUG_DONE_NOT_EXCLUSIVE
  atomic {
    MAY_DIE;
    if
    :: mark[n] == 0 -> mark[n] = 2; shown_once = false; printf("client %d marks %d refused\n", me, n)
    :: mark[n] == 1 -> m[0] = 0; m[1] = 0; x = 0; goto s6_list
    :: mark[n] == 2
    fi
  };
#endif
abort_it:                                           /* createExclusive n+1, "abort of n" */
  atomic {
    MAY_DIE;
    d_step {
      if
      :: top == n ->
         new_version(abort); p = 0;
         do
         :: p < NP && SAYS(n, p) ->
#ifdef BUG_ABORT_OF_ABORT
            newest(p, n - 1, v);
#else
            if :: kind[n] == abort -> v = n :: else -> newest(p, n - 1, v) fi;
#endif
            we_dropped(p, n, ok);
            SAYS(top, p) = TOUCHED;
            if
            :: v && HERE(v, p) && (m[p] != ABSENT || ok) -> SAYS(top, p) = SAYS(v, p)
            :: else                                 /* it had none, or somebody dropped it meanwhile */
            fi; p++
         :: p < NP && !SAYS(n, p) -> p++
         :: else -> break
         od;
         printf("client %d journals %d, abort of %d: %d %d\n", me, top, n, SAYS(top, 0), SAYS(top, 1));
         look()
      :: else
      fi;
      m[0] = 0; m[1] = 0; x = 0
    };
    goto s6_list
  }

external_first:                                     /* createExclusive n+1: what somebody else dropped */
  atomic {
    MAY_DIE;
    d_step {
      if
      :: top == n ->
         new_version(external); p = 0;
         do
         :: p < NP -> if :: x & (1 << p) -> SAYS(top, p) = TOUCHED :: else fi; p++
         :: else -> break
         od;
         printf("client %d journals external %d: %d %d\n", me, top, SAYS(top, 0), SAYS(top, 1));
         look()
      :: else
      fi;
      m[0] = 0; m[1] = 0; x = 0
    };
    goto s6_list
  }

done:
  atomic {
    d_step {
      if :: holder == me -> holder = 0 :: else fi;
      if
      :: mine && !(mine < n && kind[mine + 1] == abort) -> acked[me] = true; printf("client %d is acknowledged: %d\n", me, mine)
      :: else                                       /* SFBATCH_PUBLISH_REFUSED */
      fi;
      m[0] = 0; m[1] = 0; n = 0; sm = 0; mine = 0; rounds = 0;
      running--
    };
    goto gone_home
  }
died:
  atomic {
    d_step {
      dead = dead | (1 << me);
      forget(); base[0] = 0; base[1] = 0; m[0] = 0; m[1] = 0; n = 0; sm = 0; mine = 0; x = 0; rounds = 0; act = 0;
      running--
    }
  }
gone_home:
  skip
}
