/* NCCL for tests: ranks are threads or processes of one machine, and memory is the
 * processor's. It implements the functions that comm uses, and is as strict as they
 * may be: a function of a communicator returns before it has done anything (the second
 * question for the communicator's state hands it to the stream), a collective is over
 * when all ranks have made it, a message when it has been received, and calls on one
 * communicator follow each other.
 *
 * A communicator is a file that all ranks have mapped: counters, an area for what each
 * rank has brought to a collective, and a pipe from each rank to each. Sums are made
 * in the order of the ranks, as comm's threads make them.
 *
 * A stream is whatever begins with a function that runs a job in it. An all-reduce of
 * 13 numbers of 8 bits fails, as if a cable had been pulled. */
#include <fcntl.h>
#include <math.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { SUCCESS = 0, INTERNAL = 3, REMOTE = 6, IN_PROGRESS = 7 };
enum { RANKS = 16, AREA = 4 << 20, PIPE = 1 << 16 };

typedef struct stream {
    void (*enqueue)(struct stream *, void (*)(void *), void *);
} stream_t;

typedef struct {
    _Atomic uint64_t written, taken;
    char data[PIPE];
} pipe_t;

typedef struct {
    _Atomic int joined, finalized;
    _Atomic uint64_t posted[RANKS], done[RANKS];
} header_t;

typedef struct comm {
    int n, rank;
    char path[128];
    char *memory;
    size_t size;
    uint64_t calls;
    _Atomic int aborted, running, references, error, finalizing;
    struct job *pending, *last; /* not handed to their streams yet */
    int asked;
} comm_t;

enum kind { ALL_REDUCE, REDUCE_SCATTER, ALL_GATHER, BROADCAST, SEND, RECV };

typedef struct {
    enum kind kind;
    const char *from;
    char *to;
    size_t count;
    int type, how, peer;
} op_t;

typedef struct job {
    comm_t *comm;
    stream_t *stream;
    struct job *next;
    size_t n;
    op_t ops[2 * RANKS];
} job_t;

static header_t *header(comm_t *c) { return (header_t *)c->memory; }
static char *area(comm_t *c, int rank) { return c->memory + 4096 + (size_t)rank * AREA; }
static pipe_t *pipe_of(comm_t *c, int from, int to) {
    return (pipe_t *)area(c, c->n) + from * c->n + to;
}
static size_t width(int type) {
    static const size_t widths[] = {1, 1, 4, 4, 8, 8, 2, 4, 8, 2};
    return widths[type];
}
static void release(comm_t *c) {
    if (--c->references == 0) {
        munmap(c->memory, c->size);
        free(c);
    }
}

#include "fake_numbers.h"

/* Waits until each rank's counter is there; returns whether that came to be. */
static int await(comm_t *c, _Atomic uint64_t *counters, uint64_t want) {
    for (int r = 0; r < c->n; r++)
        while (counters[r] < want) {
            if (c->aborted) return 0;
            usleep(20);
        }
    return 1;
}

static void collective(comm_t *c, op_t *op) {
    uint64_t call = ++c->calls;
    size_t bytes = op->count * width(op->type);
    size_t brought = op->kind == REDUCE_SCATTER ? bytes * (size_t)c->n : bytes;
    if (brought > AREA || (op->kind == ALL_REDUCE && op->type == 1 && op->count == 13)) {
        c->error = brought > AREA ? INTERNAL : REMOTE;
        while (!c->aborted) usleep(20);
        return;
    }
    if (!await(c, header(c)->done, call - 1)) return;
    memcpy(area(c, c->rank), op->from, brought);
    header(c)->posted[c->rank] = call;
    if (!await(c, header(c)->posted, call)) return;
    switch (op->kind) {
    case ALL_REDUCE: reduce(c, op, 0); break;
    case REDUCE_SCATTER: reduce(c, op, (size_t)c->rank * op->count); break;
    case ALL_GATHER:
        for (int r = 0; r < c->n; r++)
            memcpy(op->to + (size_t)r * bytes, area(c, r), bytes);
        break;
    default: memcpy(op->to, area(c, op->peer), bytes);
    }
    header(c)->done[c->rank] = call;
}

/* All of a group at once, each message as far as it can. */
static void messages(comm_t *c, job_t *job) {
    size_t moved[2 * RANKS] = {0}, open = job->n;
    uint64_t ends[2 * RANKS];
    int closed[2 * RANKS] = {0};
    for (size_t i = 0; i < job->n; i++)
        if (job->ops[i].kind == SEND)
            ends[i] = pipe_of(c, c->rank, job->ops[i].peer)->written
                      + job->ops[i].count * width(job->ops[i].type);
    while (open > 0 && !c->aborted) {
        int idle = 1;
        for (size_t i = 0; i < job->n; i++) {
            op_t *op = &job->ops[i];
            size_t rest = op->count * width(op->type) - moved[i];
            if (closed[i]) continue;
            int sends = op->kind == SEND;
            pipe_t *p = sends ? pipe_of(c, c->rank, op->peer)
                              : pipe_of(c, op->peer, c->rank);
            uint64_t at = sends ? p->written : p->taken;
            size_t room = sends ? PIPE - (at - p->taken) : p->written - at;
            if (room > rest) room = rest;
            if (room > PIPE - at % PIPE) room = PIPE - at % PIPE;
            if (sends) memcpy(p->data + at % PIPE, op->from + moved[i], room);
            else memcpy(op->to + moved[i], p->data + at % PIPE, room);
            if (sends) p->written += room;
            else p->taken += room;
            moved[i] += room;
            if (room > 0) idle = 0;
            if (room == rest && (!sends || p->taken >= ends[i])) {
                closed[i] = 1;
                open--;
            }
        }
        if (idle) usleep(20);
    }
}

static void run(void *argument) {
    job_t *job = argument;
    comm_t *c = job->comm;
    c->running++;
    if (!c->aborted) {
        if (job->ops[0].kind >= SEND) messages(c, job);
        else collective(c, &job->ops[0]);
    }
    c->running--;
    release(c);
    free(job);
}

static _Thread_local int depth;
static _Thread_local job_t *group;

static int submit(job_t *job) {
    comm_t *c = job->comm;
    c->references++;
    if (c->pending) c->last->next = job;
    else c->pending = job;
    c->last = job;
    c->asked = 0;
    return IN_PROGRESS;
}

static int add(comm_t *c, stream_t *stream, op_t op) {
    if (c->pending) return INTERNAL; /* the last one has not settled */
    job_t *job = group;
    if (!job) {
        job = calloc(1, sizeof *job);
        job->comm = c;
        job->stream = stream;
        if (depth) group = job;
    }
    job->ops[job->n++] = op;
    return depth ? SUCCESS : submit(job);
}

int ncclGroupStart(void) { depth++; return SUCCESS; }
int ncclGroupEnd(void) {
    job_t *job = group;
    group = NULL;
    depth--;
    return job ? submit(job) : SUCCESS;
}

int ncclAllReduce(const void *f, void *t, size_t n, int type, int how, comm_t *c,
                  stream_t *s) {
    return add(c, s, (op_t){ALL_REDUCE, f, t, n, type, how, 0});
}
int ncclReduceScatter(const void *f, void *t, size_t n, int type, int how, comm_t *c,
                      stream_t *s) {
    return add(c, s, (op_t){REDUCE_SCATTER, f, t, n, type, how, 0});
}
int ncclAllGather(const void *f, void *t, size_t n, int type, comm_t *c, stream_t *s) {
    return add(c, s, (op_t){ALL_GATHER, f, t, n, type, 0, 0});
}
int ncclBroadcast(const void *f, void *t, size_t n, int type, int root, comm_t *c,
                  stream_t *s) {
    return add(c, s, (op_t){BROADCAST, f, t, n, type, 0, root});
}
int ncclSend(const void *f, size_t n, int type, int peer, comm_t *c, stream_t *s) {
    return add(c, s, (op_t){SEND, f, NULL, n, type, 0, peer});
}
int ncclRecv(void *t, size_t n, int type, int peer, comm_t *c, stream_t *s) {
    return add(c, s, (op_t){RECV, NULL, t, n, type, 0, peer});
}

typedef struct { char internal[128]; } id_t_;

#ifndef VERSION
#define VERSION 22800
#endif
int ncclGetVersion(int *version) { *version = VERSION; return SUCCESS; }
const char *ncclGetErrorString(int code) {
    return code == REMOTE ? "remote error" : code == INTERNAL ? "internal error" : "?";
}
const char *ncclGetLastError(comm_t *c) { return c ? "as asked" : ""; }
int ncclGetUniqueId(id_t_ *id) {
    static _Atomic int counter;
    memset(id, 0, sizeof *id);
    snprintf(id->internal, 128, "/tmp/fake-nccl-%d-%d", (int)getpid(), counter++);
    return SUCCESS;
}
int ncclCommInitRankConfig(comm_t **out, int n, id_t_ id, int rank, int *config) {
    /* size, magic, version, blocking */
    if (n > RANKS || (unsigned)config[2] != 0xcafebeef || config[4] != 0) return INTERNAL;
    comm_t *c = calloc(1, sizeof *c);
    c->n = n;
    c->rank = rank;
    c->references = 1;
    memcpy(c->path, id.internal, 128);
    c->size = 4096 + (size_t)n * AREA + (size_t)n * (size_t)n * sizeof(pipe_t);
    int file = open(c->path, O_RDWR | O_CREAT, 0600);
    if (file < 0 || ftruncate(file, (off_t)c->size)) return INTERNAL;
    c->memory = mmap(NULL, c->size, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    close(file);
    header(c)->joined++;
    *out = c;
    return IN_PROGRESS;
}
int ncclCommGetAsyncError(comm_t *c, int *state) {
    header_t *h = header(c);
    *state = c->error;
    if (c->error) return SUCCESS;
    if (h->joined < c->n || (c->finalizing && h->finalized < c->n))
        *state = IN_PROGRESS;
    else unlink(c->path);
    if (c->pending && c->asked++ == 0) *state = IN_PROGRESS;
    else
        while (c->pending) {
            job_t *job = c->pending;
            c->pending = job->next;
            job->stream->enqueue(job->stream, run, job);
        }
    return SUCCESS;
}
int ncclCommFinalize(comm_t *c) {
    c->finalizing = 1;
    header(c)->finalized++;
    return IN_PROGRESS;
}
int ncclCommDestroy(comm_t *c) {
    release(c);
    return SUCCESS;
}
/* What runs ends; what has not begun will do nothing. */
int ncclCommAbort(comm_t *c) {
    c->aborted = 1;
    unlink(c->path);
    while (c->running) usleep(20);
    while (c->pending) {
        job_t *job = c->pending;
        c->pending = job->next;
        free(job);
        c->references--;
    }
    release(c);
    return SUCCESS;
}
