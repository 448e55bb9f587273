/* loop.h: the pool of threads that receive and serve (serve.h). Read loop.c first. */
#ifndef SBX_LOOP_H
#define SBX_LOOP_H
#include "decode.h"

int loop_setup(void); /* before the sentry's own filter stands. 0 or -errno */
/* Start the pool. 0 or -errno. */
int loop_start(void);
/* The calling thread is about to wait for something: make sure that another thread is receiving. False: there can be none. */
bool loop_leave(void);
bool loop_hand_on(void); /* the same, but it takes not long: loop_settle waits for it */
#define ERESTARTSYS 512 /* the kernel's own: the call begins again after the handler, or is EINTR */
/* Around a kernel call that may block on the guest's behalf. Of request->buffer the first `kept` bytes stay as they are. While it stands, a signal that the guest's thread would take,
 * or its death, interrupts the call (EINTR). enter: false where too many calls block already; answer then ENOMEM. leave: true
 * if it was interrupted; answer then ERESTARTSYS. */
bool loop_block_enter(size_t kept);
bool loop_block_leave(void);
/* An open that may wait for somebody, as a call of the guest's that a signal can interrupt. What `open` returns, -ENOMEM or -ERESTARTSYS. */
int loop_block_open(int (*open)(const void *what), const void *what);
/* For the main thread: when this returns, no call of ours holds what was a dead process's (a port is free again); later where the machine is
 * busy. */
void loop_let_go(void);
/* For the main thread at the end: when this returns, what was done for processes has its record, but for calls that wait or take long; after
 * two seconds at the latest. */
void loop_settle(void);
/* For the main thread: look after blocked calls, some at a time; returns how many stand. Called every few milliseconds while any do. */
int loop_watch(void);
void loop_disperse(void); /* one thread that receives is enough (crowd.h) */
void loop_wake_main(void);   /* look at once, and every few milliseconds from now on */
int loop_watch_event(void); /* eventfd that becomes readable when the first call blocks */
#endif
