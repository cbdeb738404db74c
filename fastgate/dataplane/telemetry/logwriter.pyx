"""A bounded queue of lines and the thread that writes them. Runs in: every process.

    process --put--> [ at ... end ) in a ring --thread--> write(2)

What is put is whole lines and stays in one piece, so that a pipe that others write
into as well gets whole lines: at most PIPE_BUF bytes at a time (POSIX, write), or one
line, which Linux takes in one piece where the pipe has room for it. Where a write ends
inside a line, the rest of it goes first the next time, whatever is dropped in between.
The thread holds the lock for moments only, never while it asks the kernel for anything
that a disk or a reader may hold up: to write, to look at a file, to close one.

It makes no Python object, holds no GIL, allocates nothing: a process may fork at any
time, and the child begins with a writer of its own.
"""

cimport cython
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memchr, memcpy, memmove

from fastgate.dataplane.base.system cimport (
    CLOCK_MONOTONIC, EAGAIN, EINTR, clock_gettime, close, errno, timespec, write,
)

cdef extern from "<pthread.h>" nogil:
    ctypedef struct pthread_attr_t:
        pass
    ctypedef struct pthread_condattr_t:
        pass
    int pthread_mutex_init(pthread_mutex_t *, const void *)
    int pthread_mutex_destroy(pthread_mutex_t *)
    int pthread_mutex_lock(pthread_mutex_t *)
    int pthread_mutex_unlock(pthread_mutex_t *)
    int pthread_condattr_init(pthread_condattr_t *)
    int pthread_condattr_setclock(pthread_condattr_t *, int)
    int pthread_cond_init(pthread_cond_t *, const pthread_condattr_t *)
    int pthread_cond_destroy(pthread_cond_t *)
    int pthread_cond_signal(pthread_cond_t *)
    int pthread_cond_broadcast(pthread_cond_t *)
    int pthread_cond_wait(pthread_cond_t *, pthread_mutex_t *)
    int pthread_cond_timedwait(pthread_cond_t *, pthread_mutex_t *, const timespec *)
    int pthread_attr_init(pthread_attr_t *)
    int pthread_attr_destroy(pthread_attr_t *)
    int pthread_attr_setstacksize(pthread_attr_t *, size_t)
    int pthread_create(
        pthread_t *, const pthread_attr_t *, void *(*)(void *) noexcept nogil, void *
    )
    int pthread_join(pthread_t, void **)
    int pthread_detach(pthread_t)

cdef extern from "<signal.h>" nogil:
    ctypedef struct sigset_t:
        pass
    int SIG_SETMASK
    int sigfillset(sigset_t *)
    int pthread_sigmask(int, const sigset_t *, sigset_t *)

cdef extern from "<unistd.h>" nogil:
    int dup3(int, int, int)
    int getpid()

cdef extern from "<fcntl.h>" nogil:
    int O_CLOEXEC

cdef extern from "<sys/stat.h>" nogil:
    struct stat_t "stat":
        unsigned int st_mode
    int fstat(int, stat_t *)
    bint S_ISREG(unsigned int)

cdef extern from "<poll.h>" nogil:
    struct pollfd:
        int fd
        short events
        short revents
    int poll(pollfd *, unsigned long, int)
    short POLLOUT

cdef extern from "<limits.h>" nogil:
    size_t PIPE_BUF

cdef enum:
    STACK_BYTES = 131072
    LOOK_MS = 200               # at a descriptor of others that is not blocking


# --- lines --------------------------------------------------------------------


cdef size_t whole_lines(const char *p, size_t n, size_t most) noexcept nogil:
    """Bytes of the lines at p that fit in `most`; the first one in any case."""
    cdef size_t taken = 0
    cdef size_t length
    cdef const void *newline
    while taken < n:
        newline = memchr(p + taken, c'\n', n - taken)
        length = <const char *>newline - (p + taken) + 1 if newline else n - taken
        if taken and taken + length > most:
            break
        taken += length
    return taken


cdef int64_t count_lines(const char *p, size_t n) noexcept nogil:
    cdef int64_t lines = 0
    cdef const char *end = p + n
    while p < end:
        p = <const char *>memchr(p, c'\n', end - p)
        if p is NULL:
            break
        p += 1
        lines += 1
    return lines


# --- the queue, under the lock ------------------------------------------------


cdef char *room_for(LogWriter *w, size_t n) noexcept nogil:
    """Where n bytes can stand in one piece; NULL: nowhere."""
    if w.is_wrapped:
        return w.ring + w.end if n <= w.at - w.end else NULL
    if n <= w.size - w.end:
        return w.ring + w.end
    if n > w.at:
        return NULL
    w.wrap = w.end
    w.end = 0
    w.is_wrapped = 1
    return w.ring


cdef size_t next_piece(const LogWriter *w) noexcept nogil:
    """Bytes at `at` that lie in one piece, and belong to the file that is open."""
    cdef size_t n = (w.wrap if w.is_wrapped else w.end) - w.at
    if w.has_next:
        n = min(n, <size_t>(w.switch_at - w.out_bytes))
    return n


cdef void consume(LogWriter *w, size_t n) noexcept nogil:
    w.at += n
    w.used -= n
    w.out_bytes += <int64_t>n
    if w.used == 0:
        w.at = 0
        w.end = 0
        w.is_wrapped = 0
    elif w.is_wrapped and w.at == w.wrap:
        w.at = 0
        w.is_wrapped = 0


cdef void give_up(LogWriter *w, size_t n, bint is_newest) noexcept nogil:
    """Drop n bytes that could not be written, but for the rest of a torn line.

    is_newest  nothing was put since the write began
    """
    cdef char *p = w.ring + w.at
    cdef size_t rest = whole_lines(p, n, 0) if w.is_torn else 0
    w.dropped += count_lines(p + rest, n - rest)
    memmove(p + n - rest, p, rest)
    consume(w, n - rest)
    # Not at once again: the next line will show whether there is room.
    w.is_held = rest == n and is_newest


cdef bint is_settled(const LogWriter *w) noexcept nogil:
    """Nothing is on its way out: written, dropped, or torn and held."""
    return not w.is_busy and not w.has_next and (w.used == 0 or w.is_held)


# --- the thread ---------------------------------------------------------------


cdef bint is_stream(int fd) noexcept nogil:
    """A pipe, a socket or a terminal, not a file."""
    cdef stat_t status
    return not (fstat(fd, &status) == 0 and S_ISREG(status.st_mode))


cdef void turn(LogWriter *w) noexcept nogil:
    """Go on in the next file; a line that stays torn in the old one is lost.

    The descriptor keeps its number: others may know it. What lies behind the torn
    line goes to the next file.
    """
    cdef bint streams
    if w.is_torn and w.out_bytes < w.switch_at:
        w.dropped += 1
        consume(w, whole_lines(w.ring + w.at, next_piece(w), 0))
    w.is_held = 0
    w.is_torn = 0
    w.has_next = 0
    w.turning_fd = w.next_fd    # a child that is forked meanwhile must find it
    w.next_fd = -1
    w.is_busy = 1
    pthread_mutex_unlock(&w.mutex)
    # The last to close a file waits until a removed one is cut to nothing.
    dup3(w.turning_fd, w.fd, O_CLOEXEC)
    close(w.turning_fd)
    streams = is_stream(w.fd)
    pthread_mutex_lock(&w.mutex)
    w.turning_fd = -1
    w.is_stream = streams
    w.is_busy = 0


cdef ssize_t write_some(int fd, bint streams, const char *p, size_t n) noexcept nogil:
    """Write, for as long as it takes: the bytes taken, or -errno; 0: not yet."""
    cdef pollfd ready
    cdef ssize_t taken
    if streams:
        n = whole_lines(p, n, PIPE_BUF)
    taken = write(fd, p, n)
    if taken >= 0:
        return taken
    if errno == EAGAIN:
        ready.fd = fd
        ready.events = POLLOUT
        ready.revents = 0
        poll(&ready, 1, LOOK_MS)
        return 0
    return 0 if errno == EINTR else -errno


cdef void write_piece(LogWriter *w) noexcept nogil:
    cdef size_t n = next_piece(w)
    cdef const char *p = w.ring + w.at
    cdef int fd = w.fd
    cdef bint streams = w.is_stream
    cdef int64_t put_bytes = w.put_bytes
    cdef ssize_t taken
    w.is_busy = 1
    pthread_mutex_unlock(&w.mutex)
    taken = write_some(fd, streams, p, n)
    pthread_mutex_lock(&w.mutex)
    w.is_busy = 0
    if taken > 0:
        w.error = 0
        w.is_torn = p[taken - 1] != c'\n'
        consume(w, <size_t>taken)
    elif taken < 0:
        w.error = <int>-taken
        give_up(w, n, w.put_bytes == put_bytes)


cdef void *work(void *argument) noexcept nogil:
    cdef LogWriter *w = <LogWriter *>argument
    pthread_mutex_lock(&w.mutex)
    while not w.is_abandoned:
        if w.has_next and (w.out_bytes == w.switch_at or w.is_held):
            turn(w)
        elif w.used and not w.is_held:
            write_piece(w)
        else:
            pthread_cond_broadcast(&w.settled)
            if w.is_closing:
                break
            pthread_cond_wait(&w.changed, &w.mutex)
    pthread_mutex_unlock(&w.mutex)
    if w.is_abandoned:
        pthread_detach(w.thread)
        release(w)
    return NULL


cdef bint start(LogWriter *w) noexcept nogil:
    """Start the thread; every signal stays the process's own affair."""
    cdef pthread_attr_t attributes
    cdef sigset_t all_of_them
    cdef sigset_t before
    cdef int failed
    sigfillset(&all_of_them)
    pthread_attr_init(&attributes)
    pthread_attr_setstacksize(&attributes, STACK_BYTES)
    pthread_sigmask(SIG_SETMASK, &all_of_them, &before)
    failed = pthread_create(&w.thread, &attributes, work, w)
    pthread_sigmask(SIG_SETMASK, &before, NULL)
    pthread_attr_destroy(&attributes)
    w.error = failed
    w.is_running = failed == 0
    return failed == 0


# --- the process --------------------------------------------------------------


cdef LogWriter *writer_make(int fd, size_t queue_bytes) except NULL:
    """A queue before `fd`, which it owns from now on. Raises MemoryError.

    Its memory is used from the front and only as far as lines wait.
    """
    cdef LogWriter *w = <LogWriter *>calloc(1, sizeof(LogWriter))
    cdef pthread_condattr_t attributes
    if w is not NULL:
        w.ring = <char *>malloc(queue_bytes)
    if w is NULL or w.ring is NULL:
        free(w)
        raise MemoryError(f"log: queue of {queue_bytes} bytes")
    w.size = queue_bytes
    w.fd = fd
    w.next_fd = w.turning_fd = -1
    w.is_stream = is_stream(fd)
    pthread_mutex_init(&w.mutex, NULL)
    pthread_condattr_init(&attributes)
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC)
    pthread_cond_init(&w.changed, &attributes)
    pthread_cond_init(&w.settled, &attributes)
    return w


cdef void release(LogWriter *w) noexcept nogil:
    pthread_cond_destroy(&w.changed)
    pthread_cond_destroy(&w.settled)
    pthread_mutex_destroy(&w.mutex)
    give_back(w)


cdef void writer_forget(LogWriter *w) noexcept nogil:
    """In a child: give back its copy of what a writer of its parent has.

    Without the lock, which may be held for ever here; its thread is not here either.
    """
    if w.turning_fd >= 0:
        close(w.turning_fd)
    give_back(w)


cdef void give_back(LogWriter *w) noexcept nogil:
    if w.next_fd >= 0:
        close(w.next_fd)
    if w.fd >= 0:
        close(w.fd)
    free(w.ring)
    free(w)


cdef bint writer_put(LogWriter *w, const char *lines, size_t n) noexcept nogil:
    """Queue whole lines, copied; False: no room, they are dropped. Never waits."""
    cdef char *room = NULL
    pthread_mutex_lock(&w.mutex)
    if w.is_running or start(w):
        room = room_for(w, n)
    if room is NULL:
        w.dropped += count_lines(lines, n)
    else:
        memcpy(room, lines, n)
        w.end += n
        w.used += n
        w.put_bytes += <int64_t>n
    # A torn line that was held is tried again, also where there was no room.
    w.is_held = 0
    pthread_cond_signal(&w.changed)
    pthread_mutex_unlock(&w.mutex)
    return room is not NULL


cdef void writer_reopen(LogWriter *w, int fd) noexcept nogil:
    """Go on in `fd`, taken over, behind what is queued now.

    Should the file before be stuck still, the newest takes the place of the one
    that never got its turn.
    """
    pthread_mutex_lock(&w.mutex)
    if w.has_next:
        close(w.next_fd)
    else:
        w.switch_at = w.put_bytes
    w.next_fd = fd
    w.has_next = 1
    if w.is_running or start(w):
        pthread_cond_signal(&w.changed)
    else:
        turn(w)
    pthread_mutex_unlock(&w.mutex)


cdef bint wait_settled(LogWriter *w, int within_ms) noexcept nogil:
    cdef timespec until
    clock_gettime(CLOCK_MONOTONIC, &until)
    until.tv_sec += within_ms // 1000
    until.tv_nsec += within_ms % 1000 * 1000000
    if until.tv_nsec >= 1000000000:
        until.tv_sec += 1
        until.tv_nsec -= 1000000000
    while w.is_running and not is_settled(w):
        if pthread_cond_timedwait(&w.settled, &w.mutex, &until):
            break
    return not w.is_running or is_settled(w)


cdef bint writer_wait(LogWriter *w, int within_ms) noexcept nogil:
    """Wait until all that was put is written or dropped; False: it is not yet."""
    cdef bint settled
    pthread_mutex_lock(&w.mutex)
    settled = wait_settled(w, within_ms)
    pthread_mutex_unlock(&w.mutex)
    return settled


cdef int64_t writer_close(LogWriter *w, int within_ms) noexcept nogil:
    """Write what is queued, for so long, and free `w`; returns the lines it lost.

    A thread that is stuck in a write is left there, and frees it should it return.
    """
    cdef int64_t dropped
    cdef bint settled
    cdef bint is_running
    pthread_mutex_lock(&w.mutex)
    settled = wait_settled(w, within_ms)
    if w.is_wrapped:
        dropped = count_lines(w.ring + w.at, w.wrap - w.at)
        dropped += count_lines(w.ring, w.end)
    else:
        dropped = count_lines(w.ring + w.at, w.end - w.at)
    dropped += w.dropped
    is_running = w.is_running
    w.is_closing = settled
    w.is_abandoned = not settled
    pthread_cond_signal(&w.changed)
    pthread_mutex_unlock(&w.mutex)
    if settled:
        if is_running:
            pthread_join(w.thread, NULL)
        release(w)
    return dropped


cdef int64_t writer_state(LogWriter *w, int *error, bint *settled) noexcept nogil:
    """The lines dropped so far; the last write's errno; whether nothing waits."""
    cdef int64_t dropped
    pthread_mutex_lock(&w.mutex)
    dropped = w.dropped
    error[0] = w.error
    settled[0] = is_settled(w)
    pthread_mutex_unlock(&w.mutex)
    return dropped


@cython.final
cdef class LineWriter:
    """The queue and the thread of a log that Python writes.

    fd           where lines go; owned from now on, its number stays
    queue_bytes  what may wait
    The thread starts with the first line, or the first reopening. In a forked child it
    does not exist and the queue must not be touched: the child makes its own.
    Raises MemoryError.
    """

    def __cinit__(self, int fd, size_t queue_bytes):
        self.w = writer_make(fd, queue_bytes)
        self.pid = getpid()

    def __dealloc__(self):
        if self.w is NULL:
            return
        if self.pid == getpid():
            writer_close(self.w, 0)
        else:
            writer_forget(self.w)

    cdef bint _is_usable(self) noexcept:
        return self.w is not NULL and self.pid == getpid()

    def put(self, bytes lines) -> bool:
        """Queue whole lines; False: they are dropped."""
        return self._is_usable() and writer_put(self.w, lines, len(lines))

    def reopen(self, int fd) -> None:
        """Go on in `fd`, taken over, behind what is queued now."""
        if self._is_usable():
            writer_reopen(self.w, fd)
        else:
            close(fd)

    def wait(self, int within_ms) -> bool:
        """Wait until everything is written or dropped; False: it is not yet."""
        cdef bint settled = True
        if self._is_usable():
            with nogil:
                settled = writer_wait(self.w, within_ms)
        return settled

    def state(self) -> tuple[int, int, bool]:
        """Lines dropped, errno of the last write, whether nothing waits."""
        cdef int error = 0
        cdef bint settled = True
        if not self._is_usable():
            return self.lost, 0, True
        return writer_state(self.w, &error, &settled), error, settled

    def close(self, int within_ms) -> None:
        """Write what is queued, for so long at most, and close the descriptor."""
        cdef LogWriter *w = self.w
        if not self._is_usable():
            return
        self.w = NULL
        with nogil:
            self.lost = writer_close(w, within_ms)
