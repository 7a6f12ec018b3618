/* A client of the protocol: a writer (append, overwrite, rollback), a recoverer, or a passer-by, who writes none of the
 * partitions of the model. Labels carry the step numbers of PROTOCOL.md. Each label is one request to the journal, the
 * marks or the metastore; between two of them anything may happen. Safety must never rest on the lock. */

mtype = { again, publish, finish, refuse, others, clean }

#define MAY_DIE if :: crashes > 0 -> crashes--; disturbed = true; printf("client %d dies\n", me); goto died :: true fi
#define CLOSED(y) (mark[y] == 1 || ((y) < top && kind[(y) + 1] == abort))
#define REFUSABLE(y) (kind[y] == append || kind[y] == overwrite || kind[y] == rollback)
#define BIT(x) (1 << (x))

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

/* Who journalled such a version had compared what the marks of before name; an abort is journalled without. */
#ifdef BUG_ABORT_ENDS_THE_HOUR
#define ENDS_THE_HOUR(k) true
#else
#define ENDS_THE_HOUR(k) ((k) != abort)
#endif

/* hz = in the state after version upto, versions up to hz and marks of their time are older than an hour */
inline horizon(upto) {
  hz = 0;
#if HOURS
  w = aged + 1;
  do
  :: aged && w <= (upto) -> if :: ENDS_THE_HOUR(kind[w]) -> hz = aged :: else fi; w++
  :: else -> break
  od;
#endif
  skip
}

/* we = did a version of the hour before upto, of ours, call drop_partition on x? Such a call may land late. */
inline we_dropped(x, upto, we) {
  horizon(upto);
  we = false;
#ifdef BUG_DROP_AGES_UNSENT
  w = (hz -> hz + 1 : FIRST);
#else
  w = (hz -> hz : FIRST);                           /* the newest of before the hour may have been finished after it */
  do :: kind[w] == abort -> w-- :: else -> break od;
#endif
  do
  :: w <= (upto) -> if :: DROP_KIND(kind[w]) && SAYS(w, x) == TOUCHED -> we = true :: else fi; w++
  :: else -> break
  od;
  skip
}

/* c = the partitions to be read: an unfinished version's own; else those to be written, those of unclear marks (um),
 * and for a recoverer those of the last hour */
inline compared() {
  c = 0; p = 0;
  do
  :: p < NP ->
     newest(p, n, v); we_dropped(p, n, ok);
     if
     :: sm == 0 && kind[n] != external && SAYS(n, p) -> c = c | BIT(p)
     :: sm == 1 && ((parts | um) & BIT(p)) -> c = c | BIT(p)
     :: sm == 1 && !((parts | um) & BIT(p)) && op == recover && (ok || HERE(v, p) && v > hz) -> c = c | BIT(p)
     :: else
     fi; p++
  :: else -> break
  od;
  skip
}

inline forget() { a[0] = 0; a[1] = 0; t[0] = 0; t[1] = 0; d[0] = 0; d[1] = 0; call = 0 }

/* Steps 6 and 7 as one pure function of the journal up to n, n's mark, the unclear marks and what the metastore
 * showed (m) of the partitions c: what must be done next, and with which requests (a = add, t = alter, d = drop). */
inline decide() {
  act = clean; x = 0; compared();
  p = 0; do :: p < NP -> a[p] = 0; t[p] = 0; d[p] = 0; p++ :: else -> break od;
  p = 0;
  do
  :: p < NP && (c & BIT(p)) ->
     newest(p, n, v); newest(p, n - 1, u);
     to = n - (sm == 0 -> 1 : 0); we_dropped(p, to, ok);
     any = !SHOWS(v, p, m[p]) || (sm == 0 && kind[n] == rollback && !HERE(v, p) && m[p] != ABSENT);   /* any: it differs */
     if
     :: !any
     :: any && m[p] > n -> act = again              /* shows a version younger than our list */
     :: any && m[p] <= n && sm == 0 ->
        if
        /* an unfinished version found its partition gone: to add it again could revive what was dropped */
        :: HERE(v, p) && m[p] == ABSENT && !ok && u && HERE(u, p) && NEVER_READDED(kind[n]) -> x = x | BIT(p)
        :: else -> t[p] = (HERE(v, p) -> v : n)
        fi
     :: any && m[p] <= n && sm == 1 ->
        if                                          /* late: a call of ours did that; else somebody else */
#ifdef BUG_NO_REASSERT
        :: m[p] != ABSENT
#else
        :: HERE(v, p) && m[p] != ABSENT -> t[p] = v
#ifdef BUG_LATE_ADD_IS_FOREIGN
        :: !HERE(v, p) && m[p] != ABSENT && ok -> t[p] = n
#else
        :: !HERE(v, p) && m[p] != ABSENT && (ok || (um & BIT(p))) -> t[p] = n
#endif
#endif
#ifdef BUG_NO_METASTORE_CHECK
        :: HERE(v, p) && m[p] == ABSENT -> t[p] = v
#else
        :: HERE(v, p) && m[p] == ABSENT && ok && (um & BIT(p)) -> t[p] = v
#endif
        :: else -> if :: (parts & BIT(p)) || op == recover -> x = x | BIT(p) :: else fi
        fi
     fi; p++
  :: p < NP && !(c & BIT(p)) -> p++
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
  :: act == again -> x = 0
  :: act != again && sm == 0 && x -> act = refuse
  :: act != again && sm == 1 && x && !any -> act = others
  :: act != again && (sm == 1 || !x) && any -> act = publish;
     x = 0; p = 0;
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
           :: sm == 0 && kind[n] == rollback -> d[p] = 1
           :: !(sm == 0 && kind[n] == rollback)     /* an abort, a re-assertion: it stays there */
#endif
           fi;
#ifdef BUG_DROP_WITHOUT_EMPTYING
           t[p] = 0
#else
           if :: PLACE(p, m[p]) -> t[p] = 0 :: else fi
#endif
        :: else
        fi; p++
     :: else -> break
     od
  :: act != again && sm == 0 && !x && !any -> act = finish
  :: act != again && sm == 1 && !x && !any
  fi;
  if :: act != publish -> forget() :: else fi
}

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
  top++; assert(top < MAXV); kind[top] = k; shown_once = false; refuser = 0
}

/* c = the partitions that what we are about to send is about: all of an unfinished version's, or those re-asserted */
inline to_be_marked() {
  c = 0; p = 0;
  do
  :: p < NP -> if :: (sm == 0 && SAYS(n, p)) || a[p] || t[p] || d[p] -> c = c | BIT(p) :: else fi; p++
  :: else -> break
  od;
  skip
}
/* the same where it is not marked yet: a second mark says nothing new */
inline unmarked() {
  to_be_marked();
#if defined(BUG_NO_MARKS) || defined(BUG_MARK_AFTER_CALL)
  c = 0
#else
  c = c & ~unclear
#endif
}
inline mark_unclear() {
  to_be_marked(); unclear = unclear | c; printf("client %d marks unclear for %d: %d (bits)\n", me, n, c)
}

proctype client(byte me; mtype op; byte parts) {
  byte n, sm, mine, x, rounds, call, um; mtype act;
  byte m[NP], a[NP], t[NP], d[NP], base[NP];
#ifdef BUG_MARK_AFTER_CALL
  bool gave_up;
#endif

  d_step {                                          /* 2, 3: the state an append copies */
    p = 0;
    do
    :: p < NP ->
       if
       :: (parts & BIT(p)) && op == append -> newest(p, top, v); base[p] = (HERE(v, p) -> v : 0)
       :: else
       fi; p++
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
    printf("client %d takes the lock from %d\n", me, holder); holder = me; inside++
  }
s6_list:
  atomic {
    MAY_DIE;
    d_step {
      n = top; sm = mark[n]; printf("client %d LISTs: n=%d mark=%d\n", me, n, sm);
      rounds = (op == recover || op == passer_by -> rounds + 1 : 0);
      assert(rounds < 9);                           /* P: recoverer finishes */
      v = FIRST;
      do :: v < top -> assert(CLOSED(v)); v++ :: else -> break od;   /* P: one unfinished */
#ifdef BUG_NO_MARK_IN_RECOVERY
      c = 0
#else
      if :: sm == 0 && kind[n] != external -> unmarked() :: else -> c = 0 fi
#endif
    };
    if :: mine && mine == n && sm == 1 -> goto done :: else fi;
    if
    :: sm == 2 -> goto abort_it
    :: sm == 0 ->                                   /* its writer may still be about, and we may not live */
       if :: mine != n && c -> goto s6_mark :: else -> goto s6_read fi
    :: sm == 1
    fi
  }
s6_marks:                                           /* LIST unclear/ */
  atomic { d_step { horizon(n); um = unclear | (hz -> 0 : unclear_old) }; goto s6_read }
s6_mark:
  atomic { MAY_DIE; d_step { mark_unclear() } }
s6_read:
s10_read:
  atomic {
    MAY_DIE;
    d_step {
      compared();
      p = 0; do :: p < NP -> m[p] = (c & BIT(p) -> meta[p] : 0); p++ :: else -> break od;
      decide(); um = 0;
      printf("client %d reads the metastore: %d %d (bits %d) -> %e\n", me, m[0], m[1], c, act);
      p = 0;
      do
      :: p < NP -> if :: act == others || act == clean && (parts & BIT(p)) :: else -> m[p] = 0 fi; p++
      :: else -> break
      od;
      unmarked()
    };
    if
    :: act == again && sm == 1   -> act = 0; goto s6_list
    :: act == again && sm == 0   -> act = 0; goto s10_done    /* overtaken: others finished it */
    :: act == publish && sm == 0 -> act = 0; goto s9_publish
    :: act == publish && sm == 1 -> act = 0; if :: c -> goto s6_mark_late :: else -> goto s9_publish fi
    :: act == finish  -> act = 0; goto s10_done
    :: act == refuse  -> act = 0; goto refused
    :: act == others  -> act = 0; goto external_first
    :: act == clean   -> act = 0
    fi;
    if
    :: mine || op == recover || op == passer_by -> goto done
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
         :: op == append && (parts & BIT(p)) ->
            newest(p, n, v); v = (HERE(v, p) -> v : 0);
            if :: v != base[p] -> any = true; base[p] = v :: else fi
         :: else
         fi; p++
      :: else -> break
      od
    };
    if                                              /* copy again: without the lock at first, then under it */
    :: any -> m[0] = 0; m[1] = 0; goto s6_list
    :: any ->
       d_step { m[0] = 0; m[1] = 0; n = 0; sm = 0; inside--; if :: holder == me -> holder = 0 :: else fi };
       goto s5_lock
    :: else
    fi;
#endif
    d_step {
      new_version(op); p = 0;
      do
      :: p < NP ->
         if
         :: (parts & BIT(p)) && op == append ->
            SAYS(top, p) = TOUCHED | PRESENT | (1 << me) | (base[p] -> ROWS(SAYS(base[p], p)) : 0)
         :: (parts & BIT(p)) && op == overwrite -> SAYS(top, p) = TOUCHED | PRESENT | (1 << me)
         :: (parts & BIT(p)) && op == rollback ->
            SAYS(top, p) = TOUCHED | SAYS(FIRST, p); ambiguous = true
         :: else
         fi;
         base[p] = 0; p++
      :: else -> break
      od;
      mine = top; published[me] = top;
      n = top; sm = 0; decide(); act = 0; m[0] = 0; m[1] = 0;
      printf("client %d journals %e %d: %d %d\n", me, op, n, SAYS(n, 0), SAYS(n, 1))
    };
    goto s9_publish
  }
s6_mark_late:                                       /* before a re-assertion */
  atomic { MAY_DIE; d_step { mark_unclear() } }
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
       if :: op == recover || op == passer_by -> goto s6_list :: else -> disturbed = true; goto died fi
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
       d_step { take_request(); keep_in_flight(); printf("client %d gives up on\n", me); unmarked() };
#ifdef BUG_CLIENT_RETRY
       d_step { take_request(); apply() };          /* the client library sent it again, and that one was answered */
       if :: ok -> goto s9_publish :: else fi;
#endif
#ifdef BUG_MARK_AFTER_CALL
       d_step { forget(); gave_up = true };
       if :: sm == 0 -> goto s10_read :: else -> goto s6_list fi;
#endif
       if :: c -> goto s9_mark :: else -> goto s9_answered fi
    fi
  }
s9_mark:                                            /* it goes on after an unclear answer: first the mark */
  atomic { MAY_DIE; d_step { mark_unclear() } }
s9_answered:
#ifdef BUG_MARK_AFTER_CALL
  atomic {
    if
    :: sm == 1 || mine != n || gave_up -> MAY_DIE; d_step { mark_unclear() }; gave_up = false
    :: else
    fi
  };
#endif
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
      if
      :: mark[n] == 0 ->
         if
         :: n == top && kind[n] != external -> assert(shown_once); shown_once = false   /* P: done was visible */
         :: n == top && kind[n] == external -> shown_once = false
         :: else
         fi;
         mark[n] = 1; printf("client %d marks %d shown\n", me, n)
      :: else
      fi
    };
#ifdef BUG_NO_LIST_AFTER
    if :: mine == n -> goto done :: else fi;
#endif
#ifdef BUG_NO_LIST_AFTER_ABORT
    if :: mine && mine == n - 1 && kind[n] == abort -> goto done :: else fi;
#endif
    goto s6_list                                    /* a younger version? then re-assert before returning */
  }

refused:                                            /* createExclusive <n>.done "refused" */
#ifndef BUG_DONE_NOT_EXCLUSIVE
  atomic {
    MAY_DIE;
    if
    :: mark[n] == 0 -> mark[n] = 2; shown_once = false; refuser = (kind[n] == abort -> me : 0); printf("client %d marks %d refused\n", me, n)
    :: mark[n] == 1 -> x = 0; goto s6_list
    :: mark[n] == 2
    fi
  };
#endif
abort_it:                                           /* createExclusive n+1, "abort of n" */
  atomic {
    top != n || refuser == 0 || refuser == me || (dead & (1 << refuser));   /* of an abort: see README, Abstracted */
    MAY_DIE;
    d_step {
      if
      :: top == n ->
         new_version(abort); p = 0;
         do
         :: p < NP && SAYS(n, p) ->
            newest(p, n - 1, v);
            SAYS(top, p) = TOUCHED;
            if
            :: x & BIT(p)                           /* somebody dropped it meanwhile */
#ifndef BUG_ABORT_OF_ABORT
            :: !(x & BIT(p)) && kind[n] == abort -> SAYS(top, p) = SAYS(n, p)
#endif
            :: else -> if :: HERE(v, p) -> SAYS(top, p) = TOUCHED | PRESENT | AS_IN | v :: else fi
            fi; p++
         :: p < NP && !SAYS(n, p) -> p++
         :: else -> break
         od;
         printf("client %d journals %d, abort of %d: %d %d\n", me, top, n, SAYS(top, 0), SAYS(top, 1));
         look()
      :: else
      fi;
      x = 0
    };
    goto s6_list
  }

external_first:                                     /* createExclusive n+1: as somebody else left it */
  atomic {
    MAY_DIE;
    d_step {
      if
      :: top == n ->
         new_version(external); p = 0;
         do
         :: p < NP ->
            if
            :: x & BIT(p) -> SAYS(top, p) = (m[p] == ABSENT -> TOUCHED : TOUCHED | PRESENT | AS_IN | m[p])
            :: else
            fi; p++
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
      running--; inside--
    };
    goto gone_home
  }
died:
  atomic {
    d_step {
      dead = dead | (1 << me);
      forget(); base[0] = 0; base[1] = 0; m[0] = 0; m[1] = 0; n = 0; sm = 0; mine = 0; x = 0; rounds = 0; um = 0; act = 0;
      running--; inside--
    }
  }
gone_home:
  skip
}
