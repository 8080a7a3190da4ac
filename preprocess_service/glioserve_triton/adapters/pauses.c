/* End of a process that stood still, or whose wall clock was put forward, so far that its caller may have given it up.
 *
 * Triton waits for a process of a Python model by turns of one second of the wall clock. Where the process has given no
 * sign of life within a turn, its request fails, and Triton forgets it. A process that goes on nevertheless answers the
 * forgotten request, and Triton hands that answer to the next one: a study would get the answer of another. So the
 * process must not go on.
 *
 * A sign of life comes every 300 ms from a thread of Triton's, hence 700 ms is the shortest pause that can be fatal. A
 * thread looks at the clocks every 50 ms and does not need the interpreter's lock, which a library may keep for
 * seconds; the calls at the beginning and end of the work look too, so that no answer is returned after a pause.
 */
#if defined(__linux__)
#define _POSIX_C_SOURCE 200809L
#endif
#include <stdint.h>

#if defined(_WIN32)
#define EXPORT __declspec(dllexport)
#else
#define EXPORT __attribute__((visibility("default")))
#endif

EXPORT int32_t glio_abi(void) { return 2; }

#if defined(__linux__)
#include <pthread.h>
#include <signal.h>
#include <time.h>
#include <unistd.h>

#define MS 1000000LL
static const int64_t tick_ns = 50 * MS;
static const int64_t most_ns = 500 * MS;
/* After its work a process still copies its answer, on which Triton waits. */
static const int64_t answering_ns = 100 * MS;

static int64_t last_ns, offset_ns, ended_ns;
static int32_t busy;

static int64_t read_ns(clockid_t clock) {
    struct timespec now;
    clock_gettime(clock, &now);
    return now.tv_sec * 1000 * MS + now.tv_nsec;
}

/* Returns the monotonic time; the process ends where it stood still, or its clock went forward while it had work. */
static int64_t look(int64_t *offset) {
    static const char words[] = "a process of a Python model stood still, or its clock was put forward, by over half a "
                                "second: it ends, since Triton may have given its request up\n";
    int64_t now = read_ns(CLOCK_MONOTONIC);
    *offset = read_ns(CLOCK_REALTIME) - now;
    int64_t paused = now - __atomic_load_n(&last_ns, __ATOMIC_ACQUIRE) - tick_ns;
    int64_t moved = *offset - __atomic_load_n(&offset_ns, __ATOMIC_ACQUIRE);
    int64_t idle = now - __atomic_load_n(&ended_ns, __ATOMIC_ACQUIRE);
    int working = __atomic_load_n(&busy, __ATOMIC_ACQUIRE) || idle < answering_ns;
    if (moved < 0) moved = 0; /* put back, Triton only waits longer */
    if (paused < 0) paused = 0;
    if (paused + (working ? moved : 0) > most_ns) {
        ssize_t written = write(STDERR_FILENO, words, sizeof words - 1);
        (void)written;
        kill(getpid(), SIGKILL);
    }
    return now;
}

static void *watch(void *unused) {
    const struct timespec pause = {0, (long)tick_ns};
    (void)unused;
    for (;;) {
        int64_t offset, now;
        nanosleep(&pause, NULL);
        now = look(&offset);
        __atomic_store_n(&offset_ns, offset, __ATOMIC_RELEASE);
        __atomic_store_n(&last_ns, now, __ATOMIC_RELEASE);
    }
    return NULL;
}

/* Begins to watch this process; 0, or the error's number. */
EXPORT int32_t glio_pause_guard(void) {
    pthread_t thread;
    last_ns = read_ns(CLOCK_MONOTONIC);
    offset_ns = read_ns(CLOCK_REALTIME) - last_ns;
    sigset_t every, before;
    sigfillset(&every);
    pthread_sigmask(SIG_SETMASK, &every, &before); /* signals are for the process's other threads */
    int32_t failed = pthread_create(&thread, NULL, watch, NULL);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return failed ? failed : pthread_detach(thread);
}

EXPORT void glio_work_begins(void) {
    int64_t offset;
    __atomic_store_n(&busy, 1, __ATOMIC_RELEASE);
    look(&offset);
}

EXPORT void glio_work_ends(void) {
    int64_t offset;
    __atomic_store_n(&ended_ns, look(&offset), __ATOMIC_RELEASE);
    __atomic_store_n(&busy, 0, __ATOMIC_RELEASE);
}
#endif
