/* loop.h: the pool of threads that receive, decode, route and serve. Read loop.c first. */
#ifndef SBX_LOOP_H
#define SBX_LOOP_H
#include "decode.h"

int loop_setup(void); /* before the sentry's own filter stands. 0 or -errno */
/* Start the pool. 0 or -errno. */
int loop_start(void);
/* The calling thread is about to wait for something: make sure that another thread is receiving. */
void loop_leave(void);
/* Around a kernel call that may block on the guest's behalf. While it stands, a signal that the guest's thread would take,
 * or its death, interrupts the call (EINTR). leave: true if that happened; answer then ERESTARTSYS (512). */
void loop_block_enter(struct request *request);
bool loop_block_leave(void);
/* For the main thread: look after blocked calls; returns how many stand. Called every few milliseconds while any do. */
int loop_watch(void);
void loop_wake_main(void);   /* look at once, and every few milliseconds from now on */
int loop_watch_event(void); /* eventfd that becomes readable when the first call blocks */
#endif
