/* Makes one call of the system fail, or all from one on: LD_PRELOAD this with
 *   FAULT_CALLS  the calls that count, as "write fsync"; only those on regular files and folders
 *   FAULT_AT     which of them fails first, from 1; 0: none
 *   FAULT_ERRNO  with this error
 *   FAULT_LASTS  1: so do all that follow
 *   FAULT_COUNT  a file that takes the number of calls at the end
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int count;

static long setting(const char *name) {
    const char *value = getenv(name);
    return value ? atol(value) : 0;
}

static int fails(const char *call) {
    const char *calls = getenv("FAULT_CALLS");
    if (!calls || !strstr(calls, call)) return 0;
    int n = __atomic_add_fetch(&count, 1, __ATOMIC_SEQ_CST);
    long at = setting("FAULT_AT");
    if (at == 0 || n < at || (n > at && !setting("FAULT_LASTS"))) return 0;
    errno = (int)setting("FAULT_ERRNO");
    return 1;
}

static int is_regular(int fd) {
    struct stat about;
    return fstat(fd, &about) == 0 && S_ISREG(about.st_mode);
}

__attribute__((destructor)) static void report(void) {
    const char *path = getenv("FAULT_COUNT");
    FILE *file = path ? fopen(path, "w") : NULL;
    if (!file) return;
    fprintf(file, "%d\n", count);
    fclose(file);
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

/* Half of the bytes are written before a write fails, as on a disk that fills up. */
ssize_t write(int fd, const void *data, size_t size) {
    if (is_regular(fd) && fails("write")) {
        int error = errno;
        if (size > 1 && REAL(write)(fd, data, size / 2) < 0) return -1;
        errno = error;
        return -1;
    }
    return REAL(write)(fd, data, size);
}

int fsync(int fd) { return fails("fsync") ? -1 : REAL(fsync)(fd); }
int rename(const char *from, const char *to) { return fails("rename") ? -1 : REAL(rename)(from, to); }
int mkdir(const char *path, mode_t mode) { return fails("mkdir") ? -1 : REAL(mkdir)(path, mode); }
int symlink(const char *to, const char *at) { return fails("symlink") ? -1 : REAL(symlink)(to, at); }
int unlink(const char *path) { return fails("unlink") ? -1 : REAL(unlink)(path); }

int open64(const char *path, int flags, ...) {
    va_list rest;
    va_start(rest, flags);
    mode_t mode = va_arg(rest, mode_t);
    va_end(rest);
    if (flags & O_CREAT && fails("create")) return -1;
    return REAL(open64)(path, flags, mode);
}
