/* Sampling a volume on another grid in one go: linear interpolation of the Gaussian-smoothed source, where smoothing
 * and interpolation are one set of weights per axis. No smoothed copy of the source is ever made.
 *
 * Along an axis, the weights at a target voxel whose place is i + f (whole and fraction) in source voxels are
 * (1 - f) g[j] + f g[j - 1] on voxels i - r + j, g being the kernel of 2 r + 1 taps; r = 0 is linear interpolation.
 * Beyond the outermost voxel the volume goes on as it ends; beyond its border (half a voxel further out) the result
 * is the value that the caller names.
 *
 * Plain C99, one thread, no allocation, no state: any number of threads may call it at once, and the same input gives
 * the same bits. Sums run over rows, not along them, so that compilers may use vectors without changing their order.
 */
#include <math.h>
#include <stdint.h>
#include <string.h>

#if defined(_WIN32)
#define EXPORT __declspec(dllexport)
#else
#define EXPORT __attribute__((visibility("default")))
#endif

/* A place this near to a voxel's centre, or to the border, is on it: affines are products, rounded. In voxels. */
static const double NEAR = 1e-6;

static int64_t clamped(int64_t voxel, int64_t last) { return voxel < 0 ? 0 : (voxel > last ? last : voxel); }

/* First source voxel, number of voxels and weights at place u of an axis of n voxels that ends at limit; the number
 * is 0 outside. kernel: 0, the 2 * radius + 1 taps, 0. */
static int64_t weigh(double u, int64_t n, double limit, const double *kernel, int64_t radius, int64_t *first,
                     float *weights) {
    if (!(u >= -0.5 - NEAR) || !(u <= limit + NEAR)) return 0; /* NaN too */
    const double nearest = floor(u + 0.5);
    if (fabs(u - nearest) < NEAR) u = nearest;
    const double whole = floor(u), f = u - whole;
    const int64_t low = (int64_t)whole - radius, taps = 2 * radius + 1;
    if (low >= 0 && low + taps < n) { /* most voxels: no border near */
        for (int64_t j = 0; j <= taps; j++) weights[j] = (float)((1.0 - f) * kernel[j + 1] + f * kernel[j]);
        *first = low;
        return taps + 1;
    }
    const int64_t from = clamped(low, n - 1), to = clamped(low + taps, n - 1);
    memset(weights, 0, sizeof(float) * (size_t)(to - from + 1));
    for (int64_t j = 0; j <= taps; j++)
        weights[clamped(low + j, n - 1) - from] += (float)((1.0 - f) * kernel[j + 1] + f * kernel[j]);
    *first = from;
    return to - from + 1;
}

/* source: [size[2]][size[1]][size[0]]; size and all triples are x, y, z.
 * limit: the border's place along each axis, in voxels: size - 0.5, or less where the last voxel is partly padding.
 * source_from_target: [3][4], row-major, target voxel to source voxel.
 * where: [target] or NULL; voxels where it is 0 become 0 and cost nothing. outside: the value beyond the border.
 * kernels: the three axes' taps after each other, each 0, 2 * radius + 1 taps, 0.
 * scratch: 4 * (2 * max(radius) + 2) floats. first_z, last_z: the target slices to fill, the last one left out.
 * out: [target_size[2]][target_size[1]][target_size[0]]. */
EXPORT void glio_sample(const float *source, const int64_t *size, const double *limit,
                        const double *source_from_target, const int64_t *target_size, const uint8_t *where,
                        const double *kernels, const int64_t *radius, float outside, int64_t first_z, int64_t last_z,
                        float *scratch, float *out) {
    const double *a = source_from_target, *kx = kernels, *ky = kx + 2 * radius[0] + 3, *kz = ky + 2 * radius[1] + 3;
    const int64_t row = size[0], plane = size[0] * size[1];
    int64_t widest = radius[0] > radius[1] ? radius[0] : radius[1];
    if (radius[2] > widest) widest = radius[2];
    widest = 2 * widest + 2;
    float *wx = scratch, *wy = wx + widest, *wz = wy + widest, *sums = wz + widest;
    for (int64_t z = first_z, k = first_z * target_size[0] * target_size[1]; z < last_z; z++)
        for (int64_t y = 0; y < target_size[1]; y++)
            for (int64_t x = 0; x < target_size[0]; x++, k++) {
                int64_t i, j, l, nx, ny, nz;
                out[k] = 0.0f;
                if (where && !where[k]) continue;
                out[k] = outside;
                const double px = (double)x, py = (double)y, pz = (double)z;
                if (!(nx = weigh(a[0] * px + a[1] * py + a[2] * pz + a[3], size[0], limit[0], kx, radius[0], &i, wx)) ||
                    !(ny = weigh(a[4] * px + a[5] * py + a[6] * pz + a[7], size[1], limit[1], ky, radius[1], &j, wy)) ||
                    !(nz = weigh(a[8] * px + a[9] * py + a[10] * pz + a[11], size[2], limit[2], kz, radius[2], &l, wz)))
                    continue;
                memset(sums, 0, sizeof(float) * (size_t)nx);
                for (int64_t c = 0; c < nz; c++)
                    for (int64_t b = 0; b < ny; b++) {
                        const float weight = wz[c] * wy[b];
                        const float *v = source + (l + c) * plane + (j + b) * row + i;
                        for (int64_t d = 0; d < nx; d++) sums[d] += weight * v[d];
                    }
                float sum = 0.0f;
                for (int64_t d = 0; d < nx; d++) sum += wx[d] * sums[d];
                out[k] = sum;
            }
}

/* The same along one axis alone, for grids whose axes are parallel: [outer][n][inner] to [outer][target][inner].
 * place: [target], each target voxel's place in source voxels. kernel: as above.
 * scratch: target * (2 * radius + 2) floats. spans: target * 2 integers. */
EXPORT void glio_sample_axis(const float *source, int64_t outer, int64_t n, int64_t inner, double limit,
                             const double *place, int64_t target, const double *kernel, int64_t radius,
                             float outside, float *scratch, int64_t *spans, float *out) {
    const int64_t widest = 2 * radius + 2;
    for (int64_t t = 0; t < target; t++) {
        spans[2 * t] = 0;
        spans[2 * t + 1] = weigh(place[t], n, limit, kernel, radius, &spans[2 * t], scratch + t * widest);
    }
    for (int64_t o = 0; o < outer; o++)
        for (int64_t t = 0; t < target; t++) {
            const float *weights = scratch + t * widest, *from = source + (o * n + spans[2 * t]) * inner;
            float *to = out + (o * target + t) * inner;
            if (!spans[2 * t + 1]) {
                for (int64_t d = 0; d < inner; d++) to[d] = outside;
                continue;
            }
            if (inner == 1) {
                float sum = 0.0f;
                for (int64_t b = 0; b < spans[2 * t + 1]; b++) sum += weights[b] * from[b];
                *to = sum;
                continue;
            }
            memset(to, 0, sizeof(float) * (size_t)inner);
            for (int64_t b = 0; b < spans[2 * t + 1]; b++) {
                const float weight = weights[b], *v = from + b * inner;
                for (int64_t d = 0; d < inner; d++) to[d] += weight * v[d];
            }
        }
}

/* To be raised with every change of an argument: compiled.py compares it, since a stale library would crash. */
EXPORT int32_t glio_abi(void) { return 2; }
