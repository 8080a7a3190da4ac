/* The driver API's functions that glioserve_tensorrt.builders.cuda calls, over the host's own memory. A stream's work is
   done when it is synchronised, so that reading too early shows. FAKE_CUDA_FAIL names a function that fails. Where it is
   cuMemcpyDtoHAsync_v2, a kernel has broken the context: that call and every later one fail. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

static struct { void *to; const void *from; size_t size; } pending[64];
static int count, alive, retained, broken;

static int fails(const char *name) {
    const char *which = getenv("FAKE_CUDA_FAIL");
    return which && strcmp(which, name) == 0 ? 2 : 0;
}
static int queue(void *to, const void *from, size_t size) {
    if (count == 64) return 1;
    pending[count].to = to; pending[count].from = from; pending[count].size = size; count++;
    return 0;
}
static void flush(void) {
    for (int i = 0; i < count; i++) memcpy(pending[i].to, pending[i].from, pending[i].size);
    count = 0;
}
int cuInit(unsigned flags) { return fails("cuInit") ? 100 : flags; }
int cuDeviceGet(int *device, int ordinal) { *device = 7; return ordinal; }
int cuDevicePrimaryCtxRetain(void **context, int device) { retained = device == 7; *context = &retained; return !retained; }
int cuCtxSetCurrent(void *context) { return context != &retained; }
int cuStreamCreate(void **stream, unsigned flags) { *stream = &count; return flags; }
int cuStreamSynchronize(void *stream) {
    if (broken) return broken;
    flush();
    return stream != &count;
}
int cuMemAlloc_v2(uint64_t *address, size_t size) {
    if (fails("cuMemAlloc_v2")) return 2;
    *address = (uint64_t)malloc(size); alive++;
    return size == 0;
}
int cuMemFree_v2(uint64_t address) {
    if (broken) return broken;
    flush();
    free((void *)address);
    alive--;
    return alive < 0;
}
int cuMemcpyHtoDAsync_v2(uint64_t to, const void *from, size_t size, void *stream) {
    memcpy((void *)to, from, size); /* the fake runtime reads at once */
    return stream != &count;
}
int cuMemcpyDtoHAsync_v2(void *to, uint64_t from, size_t size, void *stream) {
    if (fails("cuMemcpyDtoHAsync_v2")) broken = 700;
    if (broken) return broken;
    return stream != &count || queue(to, (const void *)from, size);
}
int cuGetErrorString(int code, const char **words) {
    *words = code == 2 ? "out of memory" : code == 100 ? "no CUDA-capable device is detected" :
        code == 700 ? "an illegal memory access was encountered" : "invalid value";
    return 0;
}
int fake_alive(void) { return alive; }
