/* A disk that fails on command: preloaded into a process, it stands between SQLite and the kernel.
 *
 * Calls that change files of one folder (write, fsync, ftruncate, unlink, rename; on demand reads,
 * too) are numbered from 1 when faulty_io_arm is called. At the call with the chosen number the
 * process is killed, or the call fails with an error; everything else passes through. Where a trace
 * is wanted, each change is written to it when it was carried out, with its data, so that
 * power_loss.py can tell what a disk might have kept had the power gone at that moment.
 *
 * A trace record: 1 byte kind, 1 byte whether it succeeded, 2 bytes length of the name, 8 bytes
 * offset, 8 bytes length; then the name inside the folder, then the data (of a write; of a rename
 * the new name). The last words of a process have DEATH added to the kind of the call that killed
 * it. Numbers are the machine's own.
 *
 * Linux only: it asks /proc which file a descriptor means, and calls the kernel itself.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

enum kind { WRITE = 1, SYNC = 2, TRUNCATE = 4, UNLINK = 8, RENAME = 16, READ = 32, DEATH = 128 };

enum fault {
    NOTHING,
    KILL_BEFORE,
    KILL_INSIDE, /* half of the bytes are written, then the process dies */
    KILL_AFTER,
    FAIL,
    FAIL_SHORT, /* a disk that fills up takes half of the bytes, and the next call fails */
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static char folder[PATH_MAX];
static size_t folder_length; /* 0: not armed */
static enum fault fault;
static int kinds, error_number, lasting, trace = -1;
static long at, count, failures;

void faulty_io_arm(const char *in_folder, int which_fault, int of_kinds, long at_call,
                   int with_error, int until_healed, int trace_descriptor) {
    pthread_mutex_lock(&lock);
    snprintf(folder, sizeof folder, "%s/", in_folder);
    folder_length = strlen(folder);
    fault = which_fault;
    kinds = of_kinds;
    at = at_call;
    error_number = with_error;
    lasting = until_healed;
    trace = trace_descriptor;
    count = failures = 0;
    pthread_mutex_unlock(&lock);
}

void faulty_io_heal(void) {
    pthread_mutex_lock(&lock);
    fault = NOTHING;
    pthread_mutex_unlock(&lock);
}

long faulty_io_count(void) { return count; }

long faulty_io_failures(void) { return failures; }

/* ------------------------------------------------------------- which files are meant */

/* The name inside the folder ("" for the folder itself), or NULL where the path leads elsewhere. */
static const char *inside(const char *path) {
    if (folder_length == 0) return NULL;
    if (strncmp(path, folder, folder_length) == 0) return path + folder_length;
    if (strlen(path) + 1 == folder_length && strncmp(path, folder, folder_length - 1) == 0) return "";
    return NULL;
}

static const char *name_of(int descriptor, char *path) {
    char link[64];
    if (folder_length == 0) return NULL;
    snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
    ssize_t length = readlink(link, path, PATH_MAX - 1);
    if (length <= 0) return NULL;
    path[length] = '\0';
    return inside(path);
}

/* ------------------------------------------------------------- what happens to a call */

/* Count the call; NOTHING, or what strikes it. */
static enum fault strikes(enum kind kind) {
    if (!(kinds & kind)) return NOTHING;
    count++;
    if (fault == NOTHING || !(lasting ? count >= at : count == at)) return NOTHING;
    return fault;
}

static void note(enum kind kind, const char *name, int succeeded, off_t offset, const void *data,
                 size_t length) {
    if (trace < 0) return;
    uint8_t head[20] = {(uint8_t)kind, (uint8_t)succeeded};
    uint16_t name_length = (uint16_t)strlen(name);
    int64_t numbers[2] = {offset, (int64_t)length};
    memcpy(head + 2, &name_length, sizeof name_length);
    memcpy(head + 4, numbers, sizeof numbers);
    struct iovec parts[3] = {
        {head, sizeof head}, {(void *)name, name_length}, {(void *)data, length}};
    if (syscall(SYS_writev, trace, parts, 3) < 0) abort(); /* a trace with a gap would lie */
}

static void die(enum kind kind, const char *name) {
    note(kind | DEATH, name, 1, 0, NULL, 0);
    kill(getpid(), SIGKILL);
    for (;;) pause();
}

static long fail(void) {
    failures++;
    errno = error_number;
    return -1;
}

/* A call that happens as a whole or not at all. */
static long whole(enum kind kind, const char *name, off_t offset, const char *new_name, long number,
                  long one, long two, long three, long four) {
    pthread_mutex_lock(&lock);
    enum fault now = strikes(kind);
    if (now == KILL_BEFORE || now == KILL_INSIDE) die(kind, name);
    long result = now == FAIL || now == FAIL_SHORT ? fail() : syscall(number, one, two, three, four);
    int error = errno;
    if (kind != READ)
        note(kind, name, result == 0, offset, new_name, new_name ? strlen(new_name) : 0);
    if (now == KILL_AFTER) die(kind, name);
    pthread_mutex_unlock(&lock);
    errno = error;
    return result;
}

static ssize_t write_some(int descriptor, const char *name, const void *data, size_t length,
                          off_t offset) {
    ssize_t written = syscall(SYS_pwrite64, descriptor, data, length, offset);
    int error = errno;
    if (written > 0) note(WRITE, name, 1, offset, data, (size_t)written);
    errno = error;
    return written;
}

static ssize_t write_at(int descriptor, const char *name, const void *data, size_t length,
                        off_t offset) {
    pthread_mutex_lock(&lock);
    enum fault now = strikes(WRITE);
    ssize_t result = 0;
    if (now == KILL_BEFORE) die(WRITE, name);
    if (now == FAIL_SHORT && length > 1) {
        fault = FAIL;
        at = count + 1;
    } else if (now == FAIL || now == FAIL_SHORT) {
        result = fail();
    }
    if (result == 0) {
        size_t some = now == KILL_INSIDE || now == FAIL_SHORT ? length - length / 2 : length;
        result = write_some(descriptor, name, data, some, offset);
    }
    int error = errno;
    if (now == KILL_INSIDE || now == KILL_AFTER) die(WRITE, name);
    pthread_mutex_unlock(&lock);
    errno = error;
    return result;
}

/* ------------------------------------------------------------- the calls that are stood in for */

ssize_t pwrite64(int descriptor, const void *data, size_t length, off64_t offset) {
    char path[PATH_MAX];
    const char *name = name_of(descriptor, path);
    if (name == NULL) return syscall(SYS_pwrite64, descriptor, data, length, offset);
    return write_at(descriptor, name, data, length, offset);
}

ssize_t pwrite(int descriptor, const void *data, size_t length, off_t offset) {
    return pwrite64(descriptor, data, length, offset);
}

ssize_t write(int descriptor, const void *data, size_t length) {
    char path[PATH_MAX];
    const char *name = name_of(descriptor, path);
    if (name == NULL) return syscall(SYS_write, descriptor, data, length);
    off_t offset = lseek(descriptor, 0, SEEK_CUR);
    ssize_t written = write_at(descriptor, name, data, length, offset);
    if (written > 0) lseek(descriptor, offset + written, SEEK_SET);
    return written;
}

ssize_t pread64(int descriptor, void *data, size_t length, off64_t offset) {
    char path[PATH_MAX];
    const char *name = kinds & READ ? name_of(descriptor, path) : NULL;
    if (name == NULL) return syscall(SYS_pread64, descriptor, data, length, offset);
    return whole(READ, name, 0, NULL, SYS_pread64, descriptor, (long)data, (long)length, offset);
}

ssize_t pread(int descriptor, void *data, size_t length, off_t offset) {
    return pread64(descriptor, data, length, offset);
}

int fsync(int descriptor) {
    char path[PATH_MAX];
    const char *name = name_of(descriptor, path);
    if (name == NULL) return (int)syscall(SYS_fsync, descriptor);
    return (int)whole(SYNC, name, 0, NULL, SYS_fsync, descriptor, 0, 0, 0);
}

int fdatasync(int descriptor) { return fsync(descriptor); }

int ftruncate64(int descriptor, off64_t length) {
    char path[PATH_MAX];
    const char *name = name_of(descriptor, path);
    if (name == NULL) return (int)syscall(SYS_ftruncate, descriptor, length);
    return (int)whole(TRUNCATE, name, length, NULL, SYS_ftruncate, descriptor, length, 0, 0);
}

int ftruncate(int descriptor, off_t length) { return ftruncate64(descriptor, length); }

int unlink(const char *path) {
    const char *name = inside(path);
    if (name == NULL) return (int)syscall(SYS_unlinkat, AT_FDCWD, path, 0);
    return (int)whole(UNLINK, name, 0, NULL, SYS_unlinkat, AT_FDCWD, (long)path, 0, 0);
}

int rename(const char *old_path, const char *new_path) {
    const char *name = inside(old_path), *new_name = inside(new_path);
    if (name == NULL || new_name == NULL)
        return (int)syscall(SYS_renameat, AT_FDCWD, old_path, AT_FDCWD, new_path);
    return (int)whole(RENAME, name, 0, new_name, SYS_renameat, AT_FDCWD, (long)old_path, AT_FDCWD,
                      (long)new_path);
}
