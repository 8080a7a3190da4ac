/* Mattes mutual information of fixed samples and a moving image under an affine map, with its exact gradient.
 *
 * Mattes et al., IEEE TMI 22 (2003) 120: joint histogram with a zero-order window on the fixed bins and a cubic
 * B-spline window on the moving ones. Two things differ from the paper. A sample's weight falls to zero linearly
 * over one voxel at the moving image's border: dropping samples there would make the cost jump, and line searches
 * stop at a jump. And the gradient is that of the normalised, weighted histogram itself, weights included, so that
 * it agrees with a numeric one to rounding.
 *
 * Plain C99, one thread, no allocation, no state: the caller brings the scratch memory, so any number of threads
 * may call it at once, and the same input gives the same bits.
 */
#include <math.h>
#include <stdint.h>
#include <string.h>

#if defined(_WIN32)
#define EXPORT __declspec(dllexport)
#else
#define EXPORT __attribute__((visibility("default")))
#endif

enum { SCRATCH_PER_SAMPLE = 8, GRADIENT = 12, WINDOW = 4 };

/* Cubic B-spline weights of the four bins around t in [0, 1), first bin at floor - 1. */
static inline void window(double t, double w[WINDOW]) {
    const double s = 1.0 - t, t2 = t * t, s2 = s * s;
    w[0] = s2 * s / 6.0;
    w[1] = (4.0 - 6.0 * t2 + 3.0 * t2 * t) / 6.0;
    w[2] = (4.0 - 6.0 * s2 + 3.0 * s2 * s) / 6.0;
    w[3] = t2 * t / 6.0;
}

/* Their derivatives by t. */
static inline void window_slope(double t, double w[WINDOW]) {
    const double s = 1.0 - t;
    w[0] = -0.5 * s * s;
    w[1] = -2.0 * t + 1.5 * t * t;
    w[2] = 2.0 * s - 1.5 * s * s;
    w[3] = 0.5 * t * t;
}

/* Index and fraction for linear interpolation along one axis of n voxels at coordinate u; the weight of the soft
 * border and its slope. Returns 0 where the weight is 0. Beyond the outermost voxel centre the value goes on. */
static inline int locate(double u, int64_t n, int64_t *index, double *fraction, double *inside, double *weight,
                         double *slope) {
    if (!(u > -1.0) || !(u < (double)n)) return 0; /* NaN too */
    *weight = 1.0;
    *slope = 0.0;
    *inside = 1.0;
    if (u < 0.0) {
        *index = 0; *fraction = 0.0; *inside = 0.0; *weight = 1.0 + u; *slope = 1.0;
    } else if (u > (double)(n - 1)) {
        *index = n - 2; *fraction = 1.0; *inside = 0.0; *weight = (double)n - u; *slope = -1.0;
    } else {
        int64_t i = (int64_t)u;
        if (i > n - 2) i = n - 2;
        *index = i; *fraction = u - (double)i;
    }
    return 1;
}

/* points:    [n][3], x y z, in the space that voxel_from_point maps from.
 * fixed_bin: [n], each below fixed_bins.
 * moving:    [size[2]][size[1]][size[0]], in bins: every value from 1 to moving_bins - 3.
 * voxel_from_point: [3][4], row-major.
 * scratch:   n * SCRATCH_PER_SAMPLE floats and 2 * fixed_bins * moving_bins + fixed_bins + moving_bins doubles.
 * result:    mutual information in nats; the sum of the weights; the gradients of both by voxel_from_point [3][4].
 * Returns 0, or 1 where no sample lies in the moving image (the result is then 0). */
EXPORT int glio_mutual_information(const float *points, const uint8_t *fixed_bin, int64_t n, const float *moving,
                                   const int64_t *size, const double *voxel_from_point, int32_t fixed_bins,
                                   int32_t moving_bins, float *sample_scratch, double *table_scratch,
                                   double *result) {
    const double *a = voxel_from_point;
    const int64_t row = size[0], plane = size[0] * size[1];
    const int64_t cells = (int64_t)fixed_bins * moving_bins;
    double *joint = table_scratch, *term = joint + cells, *fixed_sum = term + cells, *moving_sum = fixed_sum + fixed_bins;
    memset(table_scratch, 0, sizeof(double) * (size_t)(2 * cells + fixed_bins + moving_bins));
    memset(result, 0, sizeof(double) * (2 + 2 * GRADIENT));

    /* First pass: values, their gradients, the joint histogram. */
    for (int64_t k = 0; k < n; k++) {
        const double x = points[3 * k], y = points[3 * k + 1], z = points[3 * k + 2];
        float *kept = sample_scratch + SCRATCH_PER_SAMPLE * k;
        int64_t i, j, l;
        double fx, fy, fz, inx, iny, inz, wx, wy, wz, sx, sy, sz;
        if (!locate(a[0] * x + a[1] * y + a[2] * z + a[3], size[0], &i, &fx, &inx, &wx, &sx) ||
            !locate(a[4] * x + a[5] * y + a[6] * z + a[7], size[1], &j, &fy, &iny, &wy, &sy) ||
            !locate(a[8] * x + a[9] * y + a[10] * z + a[11], size[2], &l, &fz, &inz, &wz, &sz)) {
            kept[1] = 0.0f;
            continue;
        }
        const float *v = moving + l * plane + j * row + i;
        const double c000 = v[0], c100 = v[1], c010 = v[row], c110 = v[row + 1];
        const double c001 = v[plane], c101 = v[plane + 1], c011 = v[plane + row], c111 = v[plane + row + 1];
        const double c00 = c000 + fx * (c100 - c000), c10 = c010 + fx * (c110 - c010);
        const double c01 = c001 + fx * (c101 - c001), c11 = c011 + fx * (c111 - c011);
        const double c0 = c00 + fy * (c10 - c00), c1 = c01 + fy * (c11 - c01);
        const float value = (float)(c0 + fz * (c1 - c0));
        const double gx0 = (c100 - c000) + fy * ((c110 - c010) - (c100 - c000));
        const double gx1 = (c101 - c001) + fy * ((c111 - c011) - (c101 - c001));
        const double weight = wx * wy * wz;
        kept[0] = value;
        kept[1] = (float)weight;
        kept[2] = (float)(inx * (gx0 + fz * (gx1 - gx0)));
        kept[3] = (float)(iny * ((c10 - c00) + fz * ((c11 - c01) - (c10 - c00))));
        kept[4] = (float)(inz * (c1 - c0));
        kept[5] = (float)(sx * wy * wz);
        kept[6] = (float)(wx * sy * wz);
        kept[7] = (float)(wx * wy * sz);
        const int32_t bin = (int32_t)value;
        double w[WINDOW];
        window((double)value - bin, w);
        double *cell = joint + (int64_t)fixed_bin[k] * moving_bins + bin - 1;
        for (int b = 0; b < WINDOW; b++) cell[b] += weight * w[b];
    }

    /* The information, and what one more unit in each cell would do to it (times the total). */
    double total = 0.0;
    for (int32_t f = 0; f < fixed_bins; f++)
        for (int32_t m = 0; m < moving_bins; m++) {
            const double h = joint[(int64_t)f * moving_bins + m];
            fixed_sum[f] += h;
            moving_sum[m] += h;
            total += h;
        }
    if (!(total > 0.0)) return 1;
    double information = 0.0;
    for (int32_t f = 0; f < fixed_bins; f++)
        for (int32_t m = 0; m < moving_bins; m++) {
            const double h = joint[(int64_t)f * moving_bins + m];
            if (h <= 0.0) continue;
            const double ratio = log(h * total / (fixed_sum[f] * moving_sum[m]));
            term[(int64_t)f * moving_bins + m] = ratio;
            information += h * ratio;
        }
    information /= total;
    result[0] = information;
    result[1] = total;

    /* Second pass: the chain rule through window, interpolation and weight. */
    double g[GRADIENT] = {0}, *by_border = result + 2 + GRADIENT;
    for (int64_t k = 0; k < n; k++) {
        const float *kept = sample_scratch + SCRATCH_PER_SAMPLE * k;
        const double weight = kept[1];
        if (weight == 0.0) continue;
        const double value = kept[0];
        const int32_t bin = (int32_t)kept[0];
        const double *t = term + (int64_t)fixed_bin[k] * moving_bins + bin - 1;
        double slope[WINDOW], by_value = 0.0;
        window_slope(value - bin, slope);
        for (int b = 0; b < WINDOW; b++) by_value += t[b] * slope[b];
        by_value *= weight;
        double u[3] = {by_value * kept[2], by_value * kept[3], by_value * kept[4]};
        const double p[4] = {points[3 * k], points[3 * k + 1], points[3 * k + 2], 1.0};
        if (kept[5] != 0.0f || kept[6] != 0.0f || kept[7] != 0.0f) {
            double w[WINDOW], by_weight = -information;
            window(value - bin, w);
            for (int b = 0; b < WINDOW; b++) by_weight += t[b] * w[b];
            for (int axis = 0; axis < 3; axis++) {
                const double s = kept[5 + axis];
                u[axis] += by_weight * s;
                for (int c = 0; c < 4; c++) by_border[4 * axis + c] += s * p[c];
            }
        }
        for (int axis = 0; axis < 3; axis++)
            for (int c = 0; c < 4; c++) g[4 * axis + c] += u[axis] * p[c];
    }
    for (int i = 0; i < GRADIENT; i++) result[2 + i] = g[i] / total;
    return 0;
}
