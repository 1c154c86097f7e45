/* Notes what a process writes below one folder, and can make its disk full.
 *
 * Loaded before the C library (LD_PRELOAD), so that it sees the writes of Python and of SQLite alike. Each record goes
 * to the file SPINE_SHIM_OUT: a header and up to two strings; sim/disk/trace.py reads them. A sync has two records,
 * for only writes that were done when it began are durable when it ends. What a process says to the world (sends on
 * sockets) is noted, where SPINE_SHIM_SENDS is set, before it is said; what it writes, after it was written.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

enum { OPEN = 1, CLOSE, WRITE, RESIZE, SYNCING, SYNCED, RENAME, LINK, UNLINK, MKDIR, RMDIR, SEND };

struct header { uint32_t op, pid; int32_t fd; uint32_t first, second, unused; int64_t at; };

#define MOST 65536
static char tracked[MOST]; /* 1: below the root */
static char root[4096];
static size_t root_length;
static int out = -1, sends, paused;
static int64_t room = -1; /* bytes the files may still grow by; -1: no limit */
static int64_t syncs;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

#define REAL(type, name, ...) \
    static type (*real)(__VA_ARGS__); \
    if (!real) real = (type (*)(__VA_ARGS__))dlsym(RTLD_NEXT, name)

static void begin(void) __attribute__((constructor));
static void begin(void)
{
    const char *to = getenv("SPINE_SHIM_OUT"), *below = getenv("SPINE_SHIM_ROOT");
    if (!to || !below) return;
    strncpy(root, below, sizeof root - 2);
    root_length = strlen(root);
    sends = getenv("SPINE_SHIM_SENDS") != NULL;
    int fd = syscall(SYS_openat, AT_FDCWD, to, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    out = syscall(SYS_fcntl, fd, F_DUPFD_CLOEXEC, 900); /* out of the way of the process's own */
    syscall(SYS_close, fd);
}

static int below(const char *path)
{
    return out >= 0 && !paused && path && !strncmp(path, root, root_length) &&
           (path[root_length] == '/' || !path[root_length]);
}

static int ours(int fd) { return out >= 0 && !paused && fd >= 0 && fd < MOST && tracked[fd]; }

static void note(uint32_t op, int fd, int64_t at, const void *first, size_t a, const void *second, size_t b)
{
    struct header header = { op, (uint32_t)syscall(SYS_getpid), fd, (uint32_t)a, (uint32_t)b, 0, at };
    struct iovec parts[3] = { { &header, sizeof header }, { (void *)first, a }, { (void *)second, b } };
    syscall(SYS_writev, out, parts, 3);
}

static void note_paths(uint32_t op, const char *one, const char *two)
{
    note(op, -1, 0, one, strlen(one), two ? two : "", two ? strlen(two) : 0);
}

/* Controls, called by name from the process itself. */
void spine_shim_pause(int on) { paused = on; }
void spine_shim_forget(void) { memset(tracked, 0, sizeof tracked); } /* files open now belong to the dead */
void spine_shim_room(int64_t bytes) { room = bytes; }
int64_t spine_shim_room_left(void) { return room; }
int64_t spine_shim_syncs(void) { return syncs; }

/* How far the file may grow now: n bytes at `at`, fewer, or -1 with ENOSPC. */
static ssize_t granted(int fd, size_t n, int64_t at)
{
    struct stat found;
    if (room < 0 || fstat(fd, &found)) return (ssize_t)n;
    int64_t growth = at + (int64_t)n - found.st_size;
    if (growth <= 0) return (ssize_t)n;
    if (growth > room) {
        int64_t fits = (int64_t)n - (growth - room);
        if (fits <= 0) { errno = ENOSPC; return -1; }
        n = (size_t)fits;
        growth = room;
    }
    room -= growth;
    return (ssize_t)n;
}

static void freed(const char *path)
{
    struct stat found;
    if (room >= 0 && below(path) && !stat(path, &found) && found.st_nlink == 1) room += found.st_size;
}

static int opened(int fd, const char *path, int flags)
{
    if (fd < 0 || fd >= MOST) return fd;
    pthread_mutex_lock(&lock);
    tracked[fd] = 0;
    if (below(path)) {
        tracked[fd] = 1;
        note(OPEN, fd, flags, path, strlen(path), "", 0);
    }
    pthread_mutex_unlock(&lock);
    return fd;
}

#define OPENING(name) \
int name(const char *path, int flags, ...) \
{ \
    REAL(int, #name, const char *, int, ...); \
    va_list more; va_start(more, flags); mode_t mode = va_arg(more, mode_t); va_end(more); \
    return opened(real(path, flags, mode), path, flags); \
}
OPENING(open)
OPENING(open64)

#define OPENING_AT(name) \
int name(int folder, const char *path, int flags, ...) \
{ \
    REAL(int, #name, int, const char *, int, ...); \
    va_list more; va_start(more, flags); mode_t mode = va_arg(more, mode_t); va_end(more); \
    return opened(real(folder, path, flags, mode), path, flags); \
}
OPENING_AT(openat)
OPENING_AT(openat64)

int close(int fd)
{
    REAL(int, "close", int);
    if (fd == out && out >= 0) return 0;
    if (fd >= 0 && fd < MOST && tracked[fd]) {
        pthread_mutex_lock(&lock);
        if (ours(fd)) note(CLOSE, fd, 0, "", 0, "", 0);
        tracked[fd] = 0;
        pthread_mutex_unlock(&lock);
    }
    return real(fd);
}

#define PLACED(name, offset_type) \
ssize_t name(int fd, const void *bytes, size_t n, offset_type at) \
{ \
    REAL(ssize_t, #name, int, const void *, size_t, offset_type); \
    if (!ours(fd)) return real(fd, bytes, n, at); \
    pthread_mutex_lock(&lock); \
    ssize_t done = granted(fd, n, at); \
    if (done >= 0) done = real(fd, bytes, (size_t)done, at); \
    if (done > 0) note(WRITE, fd, at, bytes, (size_t)done, "", 0); \
    pthread_mutex_unlock(&lock); \
    return done; \
}
PLACED(pwrite, off_t)
PLACED(pwrite64, off64_t)

static int speaks(int fd)
{
    struct stat found;
    return out >= 0 && sends && !paused && fd > 2 && fd != out && !fstat(fd, &found) && S_ISSOCK(found.st_mode);
}

static void say(int fd, const struct iovec *parts, size_t n)
{
    pthread_mutex_lock(&lock);
    for (size_t i = 0; i < n; i++)
        if (parts[i].iov_len) note(SEND, fd, 0, parts[i].iov_base, parts[i].iov_len, "", 0);
    pthread_mutex_unlock(&lock);
}

ssize_t write(int fd, const void *bytes, size_t n)
{
    REAL(ssize_t, "write", int, const void *, size_t);
    if (!ours(fd)) {
        struct iovec one = { (void *)bytes, n };
        if (speaks(fd)) say(fd, &one, 1);
        return real(fd, bytes, n);
    }
    pthread_mutex_lock(&lock);
    struct stat found;
    int64_t at = lseek(fd, 0, SEEK_CUR);
    if (fcntl(fd, F_GETFL) & O_APPEND && !fstat(fd, &found)) at = found.st_size;
    ssize_t done = granted(fd, n, at);
    if (done >= 0) done = real(fd, bytes, (size_t)done);
    if (done > 0) note(WRITE, fd, at, bytes, (size_t)done, "", 0);
    pthread_mutex_unlock(&lock);
    return done;
}

ssize_t writev(int fd, const struct iovec *parts, int n)
{
    REAL(ssize_t, "writev", int, const struct iovec *, int);
    if (ours(fd)) { /* one by one: a short count is allowed */
        ssize_t total = 0;
        for (int i = 0; i < n; i++) {
            ssize_t done = write(fd, parts[i].iov_base, parts[i].iov_len);
            if (done < 0) return total ? total : -1;
            total += done;
            if ((size_t)done < parts[i].iov_len) break;
        }
        return total;
    }
    if (speaks(fd)) say(fd, parts, (size_t)n);
    return real(fd, parts, n);
}

ssize_t send(int fd, const void *bytes, size_t n, int flags)
{
    REAL(ssize_t, "send", int, const void *, size_t, int);
    struct iovec one = { (void *)bytes, n };
    if (speaks(fd)) say(fd, &one, 1);
    return real(fd, bytes, n, flags);
}

ssize_t sendmsg(int fd, const struct msghdr *message, int flags)
{
    REAL(ssize_t, "sendmsg", int, const struct msghdr *, int);
    if (speaks(fd)) say(fd, message->msg_iov, message->msg_iovlen);
    return real(fd, message, flags);
}

#define RESIZING(name, offset_type) \
int name(int fd, offset_type size) \
{ \
    REAL(int, #name, int, offset_type); \
    if (!ours(fd)) return real(fd, size); \
    pthread_mutex_lock(&lock); \
    struct stat found; \
    if (room >= 0 && !fstat(fd, &found) && found.st_size > size) room += found.st_size - size; \
    int done = real(fd, size); \
    if (!done) note(RESIZE, fd, size, "", 0, "", 0); \
    pthread_mutex_unlock(&lock); \
    return done; \
}
RESIZING(ftruncate, off_t)
RESIZING(ftruncate64, off64_t)

#define ALLOCATING(name, offset_type) \
int name(int fd, offset_type at, offset_type n) \
{ \
    REAL(int, #name, int, offset_type, offset_type); \
    if (!ours(fd)) return real(fd, at, n); \
    pthread_mutex_lock(&lock); \
    int done = granted(fd, (size_t)n, at) == (ssize_t)n ? real(fd, at, n) : ENOSPC; \
    struct stat found; \
    if (!done && !fstat(fd, &found)) note(RESIZE, fd, found.st_size, "", 0, "", 0); \
    pthread_mutex_unlock(&lock); \
    return done; \
}
ALLOCATING(posix_fallocate, off_t)
ALLOCATING(posix_fallocate64, off64_t)

#define SYNCING_BY(name) \
int name(int fd) \
{ \
    REAL(int, #name, int); \
    if (!ours(fd)) return real(fd); \
    pthread_mutex_lock(&lock); \
    int64_t number = ++syncs; \
    note(SYNCING, fd, number, "", 0, "", 0); \
    pthread_mutex_unlock(&lock); \
    int done = real(fd); \
    pthread_mutex_lock(&lock); \
    if (!done) note(SYNCED, fd, number, "", 0, "", 0); \
    pthread_mutex_unlock(&lock); \
    return done; \
}
SYNCING_BY(fsync)
SYNCING_BY(fdatasync)

#define NAMING(name, op, arguments, call, one, two, before) \
int name arguments \
{ \
    static int (*real) arguments; \
    if (!real) real = (int (*) arguments)dlsym(RTLD_NEXT, #name); \
    if (!below(one)) return real call; \
    pthread_mutex_lock(&lock); \
    before; \
    int done = real call; \
    if (!done) note_paths(op, one, two); \
    pthread_mutex_unlock(&lock); \
    return done; \
}
NAMING(rename, RENAME, (const char *from, const char *to), (from, to), from, to, freed(to))
NAMING(renameat, RENAME, (int a, const char *from, int b, const char *to), (a, from, b, to), from, to, freed(to))
NAMING(link, LINK, (const char *from, const char *to), (from, to), from, to, (void)0)
NAMING(linkat, LINK, (int a, const char *from, int b, const char *to, int f), (a, from, b, to, f), from, to, (void)0)
NAMING(unlink, UNLINK, (const char *path), (path), path, NULL, freed(path))
NAMING(unlinkat, UNLINK, (int a, const char *path, int f), (a, path, f), path, NULL, freed(path))
NAMING(mkdir, MKDIR, (const char *path, mode_t mode), (path, mode), path, NULL, (void)0)
NAMING(mkdirat, MKDIR, (int a, const char *path, mode_t mode), (a, path, mode), path, NULL, (void)0)
NAMING(rmdir, RMDIR, (const char *path), (path), path, NULL, (void)0)
