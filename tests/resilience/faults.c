/* Faults in what a program writes: counted, logged, and made to happen at a chosen point.
 *
 * Loaded with LD_PRELOAD into `curate run` and, as the environment is inherited, into its workers. Every operation that changes files
 * below one folder is counted over all processes; at the chosen one the process group is killed (before, in the middle of, or after it),
 * or the process alone, or the operation fails with an error. The file named by CURATE_FAULTS, shared by all processes, says which, and
 * holds the log; see faults.py for its layout. Calls go to libc by their names, so that what libc does within itself (stdio) is caught
 * where it is called: fopen, fwrite, fflush, fclose.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

enum { NOTHING, KILL_GROUP, KILL_PROCESS, FAIL };
enum { BEFORE, HALF, AFTER };

struct control {
    _Atomic uint64_t count, matched, fired, log_end;
    uint64_t log_size, nth;
    uint32_t action, when, error, forever;
    char op[128], path[512], root[PATH_MAX], grave[PATH_MAX];
    char log[];
};

static struct control *control;
static _Thread_local int inside;

int faults_arm(const char *path) {
    int fd = syscall(SYS_openat, AT_FDCWD, path, O_RDWR | O_CLOEXEC, 0);
    struct stat found;
    if (fd < 0 || fstat(fd, &found)) return -1;
    void *mapped = mmap(NULL, found.st_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    syscall(SYS_close, fd);
    if (mapped == MAP_FAILED) return -1;
    control = mapped;
    return 0;
}

__attribute__((constructor)) static void start(void) {
    const char *path = getenv("CURATE_FAULTS");
    if (path && *path) faults_arm(path);
}

/* One operation: what it is, and what is to become of it. */
struct point {
    const char *op;
    char path[PATH_MAX], other[PATH_MAX];
    uint64_t number, inode;
    int64_t offset, length, result;
    int strikes;
};

static int below(const char *path) {
    size_t n = strlen(control->root);
    return !strncmp(path, control->root, n) && (path[n] == '/' || !path[n]);
}

static const char *relative(const char *path) {
    return below(path) ? path + strlen(control->root) + (path[strlen(control->root)] == '/') : path;
}

static int absolute(int dir, const char *path, char *out) {
    char base[PATH_MAX], link[64];
    if (path[0] == '/') return snprintf(out, PATH_MAX, "%s", path) < PATH_MAX;
    if (dir == AT_FDCWD) {
        if (!getcwd(base, sizeof base)) return 0;
    } else {
        snprintf(link, sizeof link, "/proc/self/fd/%d", dir);
        ssize_t n = readlink(link, base, sizeof base - 1);
        if (n < 0) return 0;
        base[n] = 0;
    }
    return snprintf(out, PATH_MAX, "%s/%s", base, path) < PATH_MAX;
}

static int path_of(int fd, char *out) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, out, PATH_MAX - 1);
    if (n < 0 || out[0] != '/') return 0;
    out[n] = 0;
    return 1;
}

/* Whether one of the patterns, between bars, matches. */
static int any_matches(const char *patterns, const char *text) {
    char copy[512], *rest = copy;
    snprintf(copy, sizeof copy, "%s", patterns);
    for (char *one; (one = strsep(&rest, "|"));)
        if (!fnmatch(one, text, 0)) return 1;
    return 0;
}

/* Count an operation whose paths are set; decides whether it is struck. */
static void judge(struct point *point) {
    char text[2 * PATH_MAX];
    point->number = atomic_fetch_add(&control->count, 1) + 1;
    point->strikes = 0;
    if (!control->action) return;
    snprintf(text, sizeof text, point->other[0] ? "%s>%s" : "%s", relative(point->path), relative(point->other));
    if (!any_matches(control->op, point->op) || !any_matches(control->path, text)) return;
    uint64_t match = atomic_fetch_add(&control->matched, 1) + 1;
    if (match == control->nth || (control->forever && match > control->nth)) {
        point->strikes = 1;
        atomic_store(&control->fired, point->number);
    }
}

static int enter(struct point *point, const char *op) {
    *point = (struct point){.op = op, .number = 0};
    return control && !inside && control->root[0];
}

static int enter_path(struct point *point, const char *op, int dir, const char *path) {
    int saved = errno;
    int found = enter(point, op) && path && absolute(dir, path, point->path) && below(point->path);
    errno = saved;
    return found;
}

static int enter_fd(struct point *point, const char *op, int fd) {
    int saved = errno;
    struct stat status;
    int found = enter(point, op) && path_of(fd, point->path) && below(point->path);
    if (found && !fstat(fd, &status)) point->inode = status.st_ino;
    errno = saved;
    return found;
}

static void die(int whole_group) {
    kill(whole_group ? 0 : getpid(), SIGKILL);
    for (;;) pause();
}

static void note(struct point *point, int64_t result) {
    char line[2 * PATH_MAX + 256];
    int saved = errno;
    if (!control->log_size) return;
    int n = snprintf(line, sizeof line, "%llu\t%d\t%s\t%lld\t%llu\t%lld\t%lld\t%s\t%s\n", (unsigned long long)point->number, getpid(),
                     point->op, (long long)result, (unsigned long long)point->inode, (long long)point->offset, (long long)point->length,
                     relative(point->path), relative(point->other));
    uint64_t at = atomic_fetch_add(&control->log_end, n);
    if (at + n <= control->log_size) memcpy(control->log + at, line, n);
    errno = saved;
}

/* Whether the operation must fail; kills where that comes before it. */
static int struck(struct point *point) {
    judge(point);
    if (!point->strikes) return 0;
    if (control->action == FAIL) {
        note(point, -1);
        errno = control->error;
        return 1;
    }
    if (control->when == BEFORE) {
        note(point, -2);
        die(control->action == KILL_GROUP);
    }
    return 0;
}

static void finish(struct point *point, int64_t result) {
    note(point, result);
    if (point->strikes && control->action != FAIL) die(control->action == KILL_GROUP);
}

static int halves(struct point *point) { return point->strikes && control->action != FAIL && control->when == HALF; }

/* Keep what an operation is about to destroy, so that a power cut can bring it back. */
static void keep_name(struct point *point, const char *path) {
    char kept[PATH_MAX + 32];
    int saved = errno;
    if (control->grave[0]) {
        snprintf(kept, sizeof kept, "%s/%llu", control->grave, (unsigned long long)point->number);
        syscall(SYS_linkat, AT_FDCWD, path, AT_FDCWD, kept, 0);
    }
    errno = saved;
}

static void keep_content(struct point *point, const char *path) {
    char kept[PATH_MAX + 32], block[4096];
    int saved = errno;
    if (control->grave[0]) {
        snprintf(kept, sizeof kept, "%s/%llu", control->grave, (unsigned long long)point->number);
        int in = syscall(SYS_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC, 0);
        int out = syscall(SYS_openat, AT_FDCWD, kept, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
        for (ssize_t n; in >= 0 && out >= 0 && (n = syscall(SYS_read, in, block, sizeof block)) > 0;) syscall(SYS_write, out, block, n);
        if (in >= 0) syscall(SYS_close, in);
        if (out >= 0) syscall(SYS_close, out);
    }
    errno = saved;
}

#define REAL(name) ((__typeof__(&name))next(#name))
static void *next(const char *name) {
    void *found = dlsym(RTLD_NEXT, name);
    if (!found) abort();
    return found;
}

/* Opening */

static int opening(int dir, const char *path, int flags, mode_t mode) {
    struct point point;
    struct stat found;
    int writes = (flags & O_ACCMODE) != O_RDONLY || (flags & (O_CREAT | O_TRUNC));
    if ((flags & O_PATH) || !writes || !enter_path(&point, "open", dir, path)) return syscall(SYS_openat, dir, path, flags, mode);
    int saved = errno;
    int there = !fstatat(dir, path, &found, 0);
    errno = saved;
    if (!there) point.op = "create";
    else if (flags & O_TRUNC) point.op = "truncate";
    if (struck(&point)) return -1;
    if (there && (flags & O_TRUNC) && found.st_size) keep_content(&point, point.path);
    int fd = syscall(SYS_openat, dir, path, flags, mode);
    if (fd >= 0 && !fstat(fd, &found)) point.inode = found.st_ino;
    finish(&point, fd < 0 ? -1 : 0);
    return fd;
}

#define MODE(last) \
    mode_t mode = 0; \
    if (flags & (O_CREAT | __O_TMPFILE)) { va_list list; va_start(list, last); mode = va_arg(list, mode_t); va_end(list); }

int open(const char *path, int flags, ...) { MODE(flags) return opening(AT_FDCWD, path, flags, mode); }
int open64(const char *path, int flags, ...) { MODE(flags) return opening(AT_FDCWD, path, flags | O_LARGEFILE, mode); }
int openat(int dir, const char *path, int flags, ...) { MODE(flags) return opening(dir, path, flags, mode); }
int openat64(int dir, const char *path, int flags, ...) { MODE(flags) return opening(dir, path, flags | O_LARGEFILE, mode); }
int creat(const char *path, mode_t mode) { return opening(AT_FDCWD, path, O_CREAT | O_WRONLY | O_TRUNC, mode); }
int creat64(const char *path, mode_t mode) { return creat(path, mode); }
int __open_2(const char *path, int flags) { return opening(AT_FDCWD, path, flags, 0); }
int __open64_2(const char *path, int flags) { return opening(AT_FDCWD, path, flags, 0); }

static FILE *stream(const char *path, const char *mode, FILE *(*real)(const char *, const char *)) {
    struct point point;
    struct stat found;
    if (mode[0] == 'r' && !strchr(mode, '+')) return real(path, mode);
    if (!enter_path(&point, "open", AT_FDCWD, path)) return real(path, mode);
    int saved = errno;
    int there = !stat(path, &found);
    errno = saved;
    if (!there) point.op = "create";
    else if (mode[0] == 'w') point.op = "truncate";
    if (struck(&point)) return NULL;
    if (there && mode[0] == 'w' && found.st_size) keep_content(&point, point.path);
    inside = 1;
    FILE *file = real(path, mode);
    inside = 0;
    if (file && !fstat(fileno(file), &found)) point.inode = found.st_ino;
    finish(&point, file ? 0 : -1);
    return file;
}

FILE *fopen(const char *path, const char *mode) { return stream(path, mode, REAL(fopen)); }
FILE *fopen64(const char *path, const char *mode) { return stream(path, mode, REAL(fopen64)); }

/* Writing */

static int64_t place(int fd) {
    int saved = errno;
    int64_t at = syscall(SYS_lseek, fd, 0, SEEK_CUR);
    errno = saved;
    return at;
}

static ssize_t writing(int fd, const void *data, size_t size, int64_t at) {
    struct point point;
    if (!enter_fd(&point, "write", fd)) return at < 0 ? syscall(SYS_write, fd, data, size) : syscall(SYS_pwrite64, fd, data, size, at);
    if (struck(&point)) return -1;
    size_t part = halves(&point) ? size / 2 : size;
    ssize_t done = at < 0 ? syscall(SYS_write, fd, data, part) : syscall(SYS_pwrite64, fd, data, part, at);
    point.length = done < 0 ? 0 : done;
    point.offset = at < 0 ? place(fd) - point.length : at;
    finish(&point, done);
    return done;
}

ssize_t write(int fd, const void *data, size_t size) { return writing(fd, data, size, -1); }
ssize_t pwrite(int fd, const void *data, size_t size, off_t at) { return writing(fd, data, size, at); }
ssize_t pwrite64(int fd, const void *data, size_t size, off64_t at) { return writing(fd, data, size, at); }

static ssize_t writing_many(int fd, const struct iovec *pieces, int count, int64_t at) {
    struct point point;
    if (!enter_fd(&point, "write", fd)) return at < 0 ? syscall(SYS_writev, fd, pieces, count) : syscall(SYS_pwritev, fd, pieces, count, at, 0);
    ssize_t total = 0;
    for (int i = 0; i < count; i++) {
        ssize_t done = writing(fd, pieces[i].iov_base, pieces[i].iov_len, at < 0 ? -1 : at + total);
        if (done < 0) return total ? total : -1;
        total += done;
        if ((size_t)done < pieces[i].iov_len) break;
    }
    return total;
}

ssize_t writev(int fd, const struct iovec *pieces, int count) { return writing_many(fd, pieces, count, -1); }
ssize_t pwritev(int fd, const struct iovec *pieces, int count, off_t at) { return writing_many(fd, pieces, count, at); }
ssize_t pwritev64(int fd, const struct iovec *pieces, int count, off64_t at) { return writing_many(fd, pieces, count, at); }

size_t fwrite(const void *data, size_t size, size_t count, FILE *file) {
    struct point point;
    __typeof__(&fwrite) real = REAL(fwrite);
    if (!enter_fd(&point, "write", fileno(file))) return real(data, size, count, file);
    if (struck(&point)) return 0;
    inside = 1;
    point.offset = ftello(file);
    size_t done = real(data, size, halves(&point) ? count / 2 : count, file);
    inside = 0;
    point.length = done * size;
    if (point.strikes && control->action != FAIL) REAL(fflush)(file);
    finish(&point, done);
    return done;
}

/* What stdio holds back reaches the file when it is flushed or closed: that can fail too. */
int fflush(FILE *file) {
    struct point point;
    __typeof__(&fflush) real = REAL(fflush);
    if (!file || !enter_fd(&point, "write", fileno(file)) || (fcntl(fileno(file), F_GETFL) & O_ACCMODE) == O_RDONLY) return real(file);
    if (struck(&point)) return EOF;
    int result = real(file);
    finish(&point, result);
    return result;
}

int fclose(FILE *file) {
    struct point point;
    __typeof__(&fclose) real = REAL(fclose);
    if (!enter_fd(&point, "write", fileno(file)) || (fcntl(fileno(file), F_GETFL) & O_ACCMODE) == O_RDONLY) return real(file);
    if (struck(&point)) {
        int fd = syscall(SYS_openat, AT_FDCWD, "/dev/null", O_WRONLY | O_CLOEXEC, 0); /* so that what is held back goes nowhere */
        int own = fileno(file);
        syscall(SYS_dup3, fd, own, O_CLOEXEC);
        syscall(SYS_close, fd);
        real(file);
        errno = control->error;
        return EOF;
    }
    int result = real(file);
    finish(&point, result);
    return result;
}

ssize_t sendfile(int out, int in, off_t *at, size_t size) {
    struct point point;
    if (!enter_fd(&point, "write", out)) return syscall(SYS_sendfile, out, in, at, size);
    if (struck(&point)) return -1;
    ssize_t done = syscall(SYS_sendfile, out, in, at, halves(&point) ? (size < 2 ? 1 : size / 2) : size);
    point.length = done < 0 ? 0 : done;
    point.offset = place(out) - point.length;
    finish(&point, done);
    return done;
}
ssize_t sendfile64(int out, int in, off64_t *at, size_t size) { return sendfile(out, in, (off_t *)at, size); }

ssize_t copy_file_range(int in, off64_t *from, int out, off64_t *to, size_t size, unsigned flags) {
    struct point point;
    if (!enter_fd(&point, "write", out)) return syscall(SYS_copy_file_range, in, from, out, to, size, flags);
    if (struck(&point)) return -1;
    point.offset = to ? *to : place(out);
    ssize_t done = syscall(SYS_copy_file_range, in, from, out, to, halves(&point) ? (size < 2 ? 1 : size / 2) : size, flags);
    point.length = done < 0 ? 0 : done;
    finish(&point, done);
    return done;
}

#define ON_FD(op, fd, call) \
    struct point point; \
    if (!enter_fd(&point, op, fd)) return call; \
    if (struck(&point)) return -1; \
    int result = call; \
    finish(&point, result); \
    return result;

static int cutting(int fd, off64_t size) {
    struct point point;
    if (!enter_fd(&point, "ftruncate", fd)) return syscall(SYS_ftruncate, fd, size);
    if (struck(&point)) return -1;
    keep_content(&point, point.path);
    point.offset = size;
    int result = syscall(SYS_ftruncate, fd, size);
    finish(&point, result);
    return result;
}
int ftruncate(int fd, off_t size) { return cutting(fd, size); }
int ftruncate64(int fd, off64_t size) { return cutting(fd, size); }

static int cutting_path(const char *path, off64_t size) {
    struct point point;
    struct stat found;
    if (!enter_path(&point, "ftruncate", AT_FDCWD, path)) return syscall(SYS_truncate, path, size);
    if (struck(&point)) return -1;
    keep_content(&point, point.path);
    if (!stat(path, &found)) point.inode = found.st_ino;
    point.offset = size;
    int result = syscall(SYS_truncate, path, size);
    finish(&point, result);
    return result;
}
int truncate(const char *path, off_t size) { return cutting_path(path, size); }
int truncate64(const char *path, off64_t size) { return cutting_path(path, size); }

int fallocate(int fd, int mode, off_t at, off_t size) { ON_FD("fallocate", fd, syscall(SYS_fallocate, fd, mode, at, size)) }
int fallocate64(int fd, int mode, off64_t at, off64_t size) { ON_FD("fallocate", fd, syscall(SYS_fallocate, fd, mode, at, size)) }
static int reserve(int fd, off64_t at, off64_t size) { ON_FD("fallocate", fd, syscall(SYS_fallocate, fd, 0, at, size)) }
int posix_fallocate(int fd, off_t at, off_t size) { return reserve(fd, at, size) ? errno : 0; }
int posix_fallocate64(int fd, off64_t at, off64_t size) { return reserve(fd, at, size) ? errno : 0; }

int fsync(int fd) { ON_FD("fsync", fd, syscall(SYS_fsync, fd)) }
int fdatasync(int fd) { ON_FD("fsync", fd, syscall(SYS_fdatasync, fd)) }
int syncfs(int fd) { ON_FD("syncfs", fd, syscall(SYS_syncfs, fd)) }

/* Names */

static int moving(int from_dir, const char *from, int to_dir, const char *to, unsigned flags) {
    struct point point;
    struct stat found;
    if (!enter_path(&point, "rename", from_dir, from) || !absolute(to_dir, to, point.other))
        return flags ? syscall(SYS_renameat2, from_dir, from, to_dir, to, flags) : syscall(SYS_renameat, from_dir, from, to_dir, to);
    if (struck(&point)) return -1;
    int saved = errno;
    if (!fstatat(to_dir, to, &found, AT_SYMLINK_NOFOLLOW) && S_ISREG(found.st_mode)) keep_name(&point, point.other);
    errno = saved;
    int result = flags ? syscall(SYS_renameat2, from_dir, from, to_dir, to, flags) : syscall(SYS_renameat, from_dir, from, to_dir, to);
    finish(&point, result);
    return result;
}
int rename(const char *from, const char *to) { return moving(AT_FDCWD, from, AT_FDCWD, to, 0); }
int renameat(int from_dir, const char *from, int to_dir, const char *to) { return moving(from_dir, from, to_dir, to, 0); }
int renameat2(int from_dir, const char *from, int to_dir, const char *to, unsigned flags) { return moving(from_dir, from, to_dir, to, flags); }

#define ON_PATH(op, dir, path, call) \
    struct point point; \
    if (!enter_path(&point, op, dir, path)) return call; \
    if (struck(&point)) return -1; \
    int result = call; \
    finish(&point, result); \
    return result;

static int removing(int dir, const char *path, int flags) {
    struct point point;
    if (!enter_path(&point, flags & AT_REMOVEDIR ? "rmdir" : "unlink", dir, path)) return syscall(SYS_unlinkat, dir, path, flags);
    if (struck(&point)) return -1;
    if (!(flags & AT_REMOVEDIR)) keep_name(&point, point.path);
    int result = syscall(SYS_unlinkat, dir, path, flags);
    finish(&point, result);
    return result;
}
int unlink(const char *path) { return removing(AT_FDCWD, path, 0); }
int unlinkat(int dir, const char *path, int flags) { return removing(dir, path, flags); }
int rmdir(const char *path) { return removing(AT_FDCWD, path, AT_REMOVEDIR); }

int mkdir(const char *path, mode_t mode) { ON_PATH("mkdir", AT_FDCWD, path, syscall(SYS_mkdirat, AT_FDCWD, path, mode)) }
int mkdirat(int dir, const char *path, mode_t mode) { ON_PATH("mkdir", dir, path, syscall(SYS_mkdirat, dir, path, mode)) }
int link(const char *from, const char *to) { ON_PATH("link", AT_FDCWD, to, syscall(SYS_linkat, AT_FDCWD, from, AT_FDCWD, to, 0)) }
int linkat(int a, const char *from, int b, const char *to, int flags) { ON_PATH("link", b, to, syscall(SYS_linkat, a, from, b, to, flags)) }
int symlink(const char *what, const char *path) { ON_PATH("link", AT_FDCWD, path, syscall(SYS_symlinkat, what, AT_FDCWD, path)) }

/* Reading is no change and is not counted; it can be made to fail, by the operation "read". */

static int reading_fails(int fd) {
    struct point point;
    if (!control || !control->action || strcmp(control->op, "read") || !enter_fd(&point, "read", fd)) return 0;
    return struck(&point);
}
ssize_t read(int fd, void *data, size_t size) { return reading_fails(fd) ? -1 : syscall(SYS_read, fd, data, size); }
ssize_t pread(int fd, void *data, size_t size, off_t at) { return reading_fails(fd) ? -1 : syscall(SYS_pread64, fd, data, size, at); }
ssize_t pread64(int fd, void *data, size_t size, off64_t at) { return reading_fails(fd) ? -1 : syscall(SYS_pread64, fd, data, size, at); }
