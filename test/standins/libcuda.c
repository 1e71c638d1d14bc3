/* A stand-in for the CUDA driver on machines without a GPU. Device memory is host memory. A stream
 * does its work only when someone waits for it, so that tests notice a missing wait. It has the
 * functions that ssvif_core/engines/tensorrt/cuda.py calls, with the driver's signatures. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { OK = 0, INVALID_VALUE = 1, CAPTURE_INVALIDATED = 901, ATTRIBUTE_MAJOR = 75, ATTRIBUTE_MINOR = 76 };

typedef struct { void (*run)(void *); void *to; const void *from; size_t size; } Task;
typedef struct { Task tasks[64]; int count; } List;
typedef struct { List queue; List *capture; } Stream;

static int add(Stream *stream, Task task) {
    List *list = stream->capture ? stream->capture : &stream->queue;
    if (list->count == 64) return INVALID_VALUE;
    list->tasks[list->count++] = task;
    return OK;
}

int cuInit(unsigned flags) { return OK; }
int cuDriverGetVersion(int *version) { *version = 13000; return OK; }
int cuDeviceGetCount(int *count) {
    const char *visible = getenv("CUDA_VISIBLE_DEVICES");
    *count = !(visible && !*visible);
    return OK;
}
int cuDeviceGet(int *device, int ordinal) { *device = ordinal; return OK; }
int cuDeviceGetName(char *name, int length, int device) {
    const char *given = getenv("STANDIN_GPU");
    strncpy(name, given ? given : "Stand-in GPU", length);
    return OK;
}
int cuDeviceGetAttribute(int *value, int attribute, int device) {
    *value = attribute == ATTRIBUTE_MAJOR ? 8 : attribute == ATTRIBUTE_MINOR ? 6 : 1;
    return OK;
}
int cuDevicePrimaryCtxRetain(void **context, int device) { *context = (void *)1; return OK; }
int cuCtxSetCurrent(void *context) { return context ? OK : INVALID_VALUE; }
int cuStreamCreate(void **stream, unsigned flags) { *stream = calloc(1, sizeof(Stream)); return OK; }
int cuStreamDestroy_v2(void *stream) { free(stream); return OK; }
int cuStreamSynchronize(Stream *stream) {
    if (stream->capture) return CAPTURE_INVALIDATED;
    for (int i = 0; i < stream->queue.count; i++) {
        Task *task = &stream->queue.tasks[i];
        if (task->run) task->run(task->to);
        else memcpy(task->to, task->from, task->size);
    }
    stream->queue.count = 0;
    return OK;
}
int cuMemHostAlloc(void **pointer, size_t size, unsigned flags) { *pointer = malloc(size); return OK; }
int cuMemFreeHost(void *pointer) { free(pointer); return OK; }
int cuMemAlloc_v2(uint64_t *pointer, size_t size) { *pointer = (uint64_t)malloc(size); return OK; }
int cuMemGetInfo_v2(size_t *available, size_t *total) { *available = *total = 1 << 30; return OK; }
int cuMemFree_v2(uint64_t pointer) { free((void *)pointer); return OK; }
int cuMemcpyHtoDAsync_v2(uint64_t to, const void *from, size_t size, Stream *stream) {
    return add(stream, (Task){NULL, (void *)to, from, size});
}
int cuMemcpyDtoHAsync_v2(void *to, uint64_t from, size_t size, Stream *stream) {
    return add(stream, (Task){NULL, to, (const void *)from, size});
}
int cuLaunchHostFunc(Stream *stream, void (*run)(void *), void *data) {
    return add(stream, (Task){run, data, NULL, 0});
}
static void stamp(void *event) { clock_gettime(CLOCK_MONOTONIC, event); }
int cuEventCreate(void **event, unsigned flags) { *event = calloc(1, sizeof(struct timespec)); return OK; }
int cuEventRecord(void *event, Stream *stream) { return add(stream, (Task){stamp, event, NULL, 0}); }
int cuEventElapsedTime_v2(float *milliseconds, struct timespec *from, struct timespec *to) {
    *milliseconds = 1e3 * (to->tv_sec - from->tv_sec) + 1e-6 * (to->tv_nsec - from->tv_nsec);
    return OK;
}
int cuStreamBeginCapture_v2(Stream *stream, int mode) {
    stream->capture = calloc(1, sizeof(List));
    return OK;
}
int cuStreamEndCapture(Stream *stream, void **graph) {
    *graph = stream->capture;
    stream->capture = NULL;
    return OK;
}
int cuGraphInstantiateWithFlags(void **executable, void *graph, unsigned long long flags) {
    *executable = memcpy(malloc(sizeof(List)), graph, sizeof(List));
    return OK;
}
int cuGraphDestroy(void *graph) { free(graph); return OK; }
int cuGraphExecDestroy(void *executable) { free(executable); return OK; }
int cuGraphLaunch(List *executable, Stream *stream) {
    for (int i = 0; i < executable->count; i++)
        if (add(stream, executable->tasks[i])) return INVALID_VALUE;
    return OK;
}

/* cuda-bindings asks for functions by their names without a version. */
int cuGetProcAddress_v2(const char *name, void **function, int version, uint64_t flags, int *status) {
    char with_version[128];
    Dl_info self;
    dladdr((void *)cuInit, &self);
    void *library = dlopen(self.dli_fname, RTLD_LAZY | RTLD_NOLOAD);
    snprintf(with_version, sizeof with_version, "%s_v2", name);
    *function = dlsym(library, with_version);
    if (!*function) *function = dlsym(library, name);
    if (status) *status = *function ? 0 : 1;
    return *function ? OK : 500;
}
