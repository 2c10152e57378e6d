/* A bad disk under a node's journal: preloaded into the node, between SQLite and the system.
 *
 * Touches only files whose names begin with $CHAOS_JOURNAL, except the "-shm" one, which is memory.
 * What is wrong with them stands in $CHAOS_CONTROL, which is mapped, so whoever writes there switches
 * a running node. With $CHAOS_LOG set, all that is done to the files is told there as well, before it
 * is done: from that the test knows what the disk may hold after the plug was pulled.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

struct control {
    int32_t write_errno; /* what a write fails with once the budget is spent; 0: it does not */
    int32_t sync_errno;  /* what a sync fails with; 0: it does not */
    int64_t budget;      /* bytes that may still be written before writes fail */
    int32_t shorten;     /* writes write only a part, and say so */
    int32_t sync_delay;  /* milliseconds that a sync takes longer */
    int64_t failures;    /* calls that failed, for the test to read */
    int64_t shortened;   /* calls that did less than was asked */
};

struct entry { /* of the log; the data of a write follows */
    uint32_t kind;
    uint32_t file;
    uint64_t place; /* offset of a write, new size of a truncation, entries a sync covers */
    uint64_t length;
};

enum { WRITE, TRUNCATE, SYNC };

static struct control none, *control = &none;
static const char *journal;
static int log_fd = -1;
static uint64_t logged;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static ssize_t (*real_write)(int, const void *, size_t);
static ssize_t (*real_pwrite)(int, const void *, size_t, off_t);
static ssize_t (*real_writev)(int, const struct iovec *, int);
static int (*real_fsync)(int);
static int (*real_fdatasync)(int);
static int (*real_ftruncate)(int, off_t);

__attribute__((constructor)) static void begin(void)
{
    real_write = dlsym(RTLD_NEXT, "write");
    real_pwrite = dlsym(RTLD_NEXT, "pwrite64");
    real_writev = dlsym(RTLD_NEXT, "writev");
    real_fsync = dlsym(RTLD_NEXT, "fsync");
    real_fdatasync = dlsym(RTLD_NEXT, "fdatasync");
    real_ftruncate = dlsym(RTLD_NEXT, "ftruncate64");
    const char *path = getenv("CHAOS_CONTROL");
    int fd = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
    if (fd >= 0) {
        void *map = mmap(NULL, sizeof none, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        if (map != MAP_FAILED)
            control = map;
        close(fd);
    }
    if ((path = getenv("CHAOS_LOG")))
        log_fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    journal = getenv("CHAOS_JOURNAL");
}

/* Which of the journal's files this is: 0 the database, 1 its WAL, 2 its rollback journal; or -1. */
static int which(int fd)
{
    char link[40], path[4096];
    if (!journal)
        return -1;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    size_t prefix = strlen(journal);
    if (length < (ssize_t)prefix || memcmp(path, journal, prefix))
        return -1;
    path[length] = 0;
    const char *rest = path + prefix;
    return !*rest ? 0 : !strcmp(rest, "-wal") ? 1 : !strcmp(rest, "-journal") ? 2 : -1;
}

/* Tell the log; call with the lock held, so that its order is the files'. */
static void tell(uint32_t kind, uint32_t file, uint64_t place, const void *data, uint64_t length)
{
    struct entry entry = {kind, file, place, length};
    struct iovec parts[] = {{&entry, sizeof entry}, {(void *)data, length}};
    if (log_fd < 0)
        return;
    if (real_writev(log_fd, parts, 2) != (ssize_t)(sizeof entry + length))
        abort(); /* a test that lost its log proves nothing */
    logged++;
}

/* How much of a write is done; 0 when it is to fail, with errno set. */
static size_t allowed(size_t length)
{
    size_t most = length;
    if (control->write_errno) {
        int64_t budget = control->budget;
        if (budget <= 0) {
            control->failures++;
            errno = control->write_errno;
            return 0;
        }
        if ((int64_t)most > budget)
            most = budget;
        control->budget = budget - most;
    }
    if (control->shorten && most > 1)
        most = most / 2;
    if (most < length)
        control->shortened++;
    return most;
}

static ssize_t put(int file, int fd, const void *data, size_t length, off_t place)
{
    pthread_mutex_lock(&lock);
    ssize_t done = -1;
    size_t most = length ? allowed(length) : 0;
    if (most || !length) {
        tell(WRITE, file, place, data, most);
        done = real_pwrite(fd, data, most, place);
    }
    pthread_mutex_unlock(&lock);
    return done;
}

ssize_t pwrite64(int fd, const void *data, size_t length, off_t place)
{
    int file = which(fd);
    return file < 0 ? real_pwrite(fd, data, length, place) : put(file, fd, data, length, place);
}

ssize_t pwrite(int fd, const void *data, size_t length, off_t place)
{
    return pwrite64(fd, data, length, place);
}

ssize_t write(int fd, const void *data, size_t length)
{
    int file = which(fd);
    if (file < 0)
        return real_write(fd, data, length);
    off_t place = lseek(fd, 0, SEEK_CUR);
    ssize_t done = put(file, fd, data, length, place);
    if (done > 0)
        lseek(fd, done, SEEK_CUR);
    return done;
}

ssize_t writev(int fd, const struct iovec *parts, int count)
{
    if (which(fd) < 0)
        return real_writev(fd, parts, count);
    return count ? write(fd, parts[0].iov_base, parts[0].iov_len) : 0; /* less than asked will do */
}

static int sync_file(int fd, int (*real)(int))
{
    int file = which(fd);
    if (file < 0)
        return real(fd);
    pthread_mutex_lock(&lock);
    uint64_t covered = logged;
    pthread_mutex_unlock(&lock);
    if (control->sync_delay) {
        struct timespec pause = {control->sync_delay / 1000,
                                 control->sync_delay % 1000 * 1000000L};
        nanosleep(&pause, NULL);
    }
    if (control->sync_errno) {
        control->failures++;
        errno = control->sync_errno;
        return -1;
    }
    int result = real(fd);
    pthread_mutex_lock(&lock);
    if (!result)
        tell(SYNC, file, covered, NULL, 0);
    pthread_mutex_unlock(&lock);
    return result;
}

int fsync(int fd)
{
    return sync_file(fd, real_fsync);
}

int fdatasync(int fd)
{
    return sync_file(fd, real_fdatasync);
}

int ftruncate64(int fd, off_t size)
{
    int file = which(fd);
    if (file < 0)
        return real_ftruncate(fd, size);
    pthread_mutex_lock(&lock);
    int result = -1;
    if (control->write_errno && control->budget <= 0) {
        control->failures++;
        errno = control->write_errno;
    } else {
        tell(TRUNCATE, file, size, NULL, 0);
        result = real_ftruncate(fd, size);
    }
    pthread_mutex_unlock(&lock);
    return result;
}

int ftruncate(int fd, off_t size)
{
    return ftruncate64(fd, size);
}

/* Neither is used by SQLite as it is built here; what is not looked at must not happen unseen. */
int fallocate64(int fd, int mode, off_t place, off_t length)
{
    static int (*real)(int, int, off_t, off_t);
    if (!real)
        real = dlsym(RTLD_NEXT, "fallocate64");
    if (which(fd) < 0)
        return real(fd, mode, place, length);
    errno = EOPNOTSUPP;
    return -1;
}

int fallocate(int fd, int mode, off_t place, off_t length)
{
    return fallocate64(fd, mode, place, length);
}

ssize_t pwritev64(int fd, const struct iovec *parts, int count, off_t place)
{
    static ssize_t (*real)(int, const struct iovec *, int, off_t);
    if (!real)
        real = dlsym(RTLD_NEXT, "pwritev64");
    if (which(fd) < 0)
        return real(fd, parts, count, place);
    return count ? pwrite64(fd, parts[0].iov_base, parts[0].iov_len, place) : 0;
}

ssize_t pwritev(int fd, const struct iovec *parts, int count, off_t place)
{
    return pwritev64(fd, parts, count, place);
}
