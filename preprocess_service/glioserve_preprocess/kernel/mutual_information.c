/* Mattes mutual information of fixed samples and a moving image under an affine map, with its exact gradient.
 *
 * Mattes et al., IEEE TMI 22 (2003) 120: joint histogram with a zero-order window on the fixed bins and a cubic
 * B-spline window on the moving ones. Two things differ from the paper. A sample's weight falls to zero linearly
 * over one voxel at the moving image's border: dropping samples there would make the cost jump, and line searches
 * stop at a jump. And the gradient is that of the normalised, weighted histogram itself, weights included, so that
 * it agrees with a numeric one to rounding.
 *
 * The search for the nearest maximum is here too, so that it runs from start to end without the interpreter.
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

/* What a similarity is of; see glio_mutual_information. */
typedef struct {
    const float *points;
    const uint8_t *fixed_bin;
    int64_t n;
    const float *moving;
    const int64_t *size;
    int32_t bins;
    float *sample_scratch;
    double *table_scratch;
} Pair;

/* See glio_mutual_information for result. */
static int information_at(const Pair *p, const double a[12], double result[2 + 2 * GRADIENT]) {
    const float *points = p->points, *moving = p->moving;
    const uint8_t *fixed_bin = p->fixed_bin;
    const int64_t n = p->n, *size = p->size;
    const int32_t bins = p->bins;
    float *sample_scratch = p->sample_scratch;
    double *table_scratch = p->table_scratch;
    const int64_t row = size[0], plane = size[0] * size[1];
    const int64_t cells = (int64_t)bins * bins;
    double *joint = table_scratch, *term = joint + cells, *fixed_sum = term + cells, *moving_sum = fixed_sum + bins;
    memset(table_scratch, 0, sizeof(double) * (size_t)(2 * cells + 2 * bins));
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
        double *cell = joint + (int64_t)fixed_bin[k] * bins + bin - 1;
        for (int b = 0; b < WINDOW; b++) cell[b] += weight * w[b];
    }

    /* The information, and what one more unit in each cell would do to it (times the total). */
    double total = 0.0;
    for (int32_t f = 0; f < bins; f++)
        for (int32_t m = 0; m < bins; m++) {
            const double h = joint[(int64_t)f * bins + m];
            fixed_sum[f] += h;
            moving_sum[m] += h;
            total += h;
        }
    if (!(total > 0.0)) return 1;
    double information = 0.0;
    for (int32_t f = 0; f < bins; f++)
        for (int32_t m = 0; m < bins; m++) {
            const double h = joint[(int64_t)f * bins + m];
            if (h <= 0.0) continue;
            const double ratio = log(h * total / (fixed_sum[f] * moving_sum[m]));
            term[(int64_t)f * bins + m] = ratio;
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
        const double *t = term + (int64_t)fixed_bin[k] * bins + bin - 1;
        double slope[WINDOW], by_value = 0.0;
        window_slope(value - bin, slope);
        for (int b = 0; b < WINDOW; b++) by_value += t[b] * slope[b];
        by_value *= weight;
        double u[3] = {by_value * kept[2], by_value * kept[3], by_value * kept[4]};
        const double q[4] = {points[3 * k], points[3 * k + 1], points[3 * k + 2], 1.0};
        if (kept[5] != 0.0f || kept[6] != 0.0f || kept[7] != 0.0f) {
            double w[WINDOW], by_weight = -information;
            window(value - bin, w);
            for (int b = 0; b < WINDOW; b++) by_weight += t[b] * w[b];
            for (int axis = 0; axis < 3; axis++) {
                const double s = kept[5 + axis];
                u[axis] += by_weight * s;
                for (int c = 0; c < 4; c++) by_border[4 * axis + c] += s * q[c];
            }
        }
        for (int axis = 0; axis < 3; axis++)
            for (int c = 0; c < 4; c++) g[4 * axis + c] += u[axis] * q[c];
    }
    for (int i = 0; i < GRADIENT; i++) result[2 + i] = g[i] / total;
    return 0;
}

/* Rotation matrix r of a rotation vector v (radians), and its left Jacobian j: turning by v + d is turning by v and then
 * by j d, for small d (Sola et al., arXiv 1812.01537, eq. 143 to 145). */
static void rotation_of(const double v[3], double r[9], double j[9]) {
    const double angle2 = v[0] * v[0] + v[1] * v[1] + v[2] * v[2], angle = sqrt(angle2);
    double first, second, third;
    if (angle < 1e-6) {
        first = 1.0 - angle2 / 6.0; second = 0.5 - angle2 / 24.0; third = 1.0 / 6.0 - angle2 / 120.0;
    } else {
        first = sin(angle) / angle; second = (1.0 - cos(angle)) / angle2; third = (1.0 - first) / angle2;
    }
    const double k[9] = {0, -v[2], v[1], v[2], 0, -v[0], -v[1], v[0], 0};
    for (int i = 0; i < 3; i++)
        for (int l = 0; l < 3; l++) {
            const double kk = k[3 * i] * k[l] + k[3 * i + 1] * k[3 + l] + k[3 * i + 2] * k[6 + l];
            r[3 * i + l] = (i == l) + first * k[3 * i + l] + second * kk;
            j[3 * i + l] = (i == l) + second * k[3 * i + l] + third * kk;
        }
}

/* How six parameters move points: see glio_climb. */
typedef struct {
    const double *turn, *start, *pivot;
    double radius, unit, scale;
    int32_t shared;
} Motion;

/* The objective to be made small, and its gradient, at parameters in units of a voxel. */
static double objective(const Pair *p, const Motion *m, const double x[6], double g[6]) {
    double r[9], j[9], a[12], v[3], result[2 + 2 * GRADIENT], by[12];
    for (int i = 0; i < 3; i++) v[i] = x[i] * m->unit / m->radius;
    rotation_of(v, r, j);
    for (int i = 0; i < 3; i++) {
        const double *t = m->turn + 3 * i;
        for (int l = 0; l < 3; l++) a[4 * i + l] = t[0] * r[l] + t[1] * r[3 + l] + t[2] * r[6 + l];
        a[4 * i + 3] = m->start[i];
        for (int l = 0; l < 3; l++) a[4 * i + 3] += t[l] * (m->pivot[l] + x[3 + l] * m->unit);
    }
    information_at(p, a, result);
    const double nats = result[0], share = result[1] / (double)p->n;
    double value = nats;
    for (int i = 0; i < GRADIENT; i++) by[i] = result[2 + i];
    if (m->shared) {
        value = nats * share;
        for (int i = 0; i < GRADIENT; i++) by[i] = share * by[i] + nats * result[2 + GRADIENT + i] / (double)p->n;
    }
    /* c = turn^T by[:, :3] r^T; the torque is what is skew in it. */
    double b[9], c[9];
    for (int i = 0; i < 3; i++)
        for (int l = 0; l < 3; l++)
            b[3 * i + l] = m->turn[i] * by[l] + m->turn[3 + i] * by[4 + l] + m->turn[6 + i] * by[8 + l];
    for (int i = 0; i < 3; i++)
        for (int l = 0; l < 3; l++)
            c[3 * i + l] = b[3 * i] * r[3 * l] + b[3 * i + 1] * r[3 * l + 1] + b[3 * i + 2] * r[3 * l + 2];
    const double torque[3] = {c[7] - c[5], c[2] - c[6], c[3] - c[1]};
    for (int i = 0; i < 3; i++) {
        const double turned = (j[i] * torque[0] + j[3 + i] * torque[1] + j[6 + i] * torque[2]) / m->radius;
        const double moved = m->turn[i] * by[3] + m->turn[3 + i] * by[7] + m->turn[6 + i] * by[11];
        g[i] = -turned * m->unit / m->scale;
        g[3 + i] = -moved * m->unit / m->scale;
    }
    return -value / m->scale;
}

static double dot6(const double *a, const double *b) {
    double sum = 0.0;
    for (int i = 0; i < 6; i++) sum += a[i] * b[i];
    return sum;
}

/* points:    [n][3], x y z, in the space that voxel_from_point maps from.
 * fixed_bin: [n], each below bins.
 * moving:    [size[2]][size[1]][size[0]], in bins: every value from 1 to bins - 3.
 * voxel_from_point: [3][4], row-major.
 * scratch:   n * SCRATCH_PER_SAMPLE floats and 2 * bins * (bins + 1) doubles.
 * result:    mutual information in nats; the sum of the weights; the gradients of both by voxel_from_point [3][4].
 * Returns 0, or 1 where no sample lies in the moving image (the result is then 0). */
EXPORT int glio_mutual_information(const float *points, const uint8_t *fixed_bin, int64_t n, const float *moving,
                                   const int64_t *size, const double *voxel_from_point, int32_t bins,
                                   float *sample_scratch, double *table_scratch, double *result) {
    const Pair p = {points, fixed_bin, n, moving, size, bins, sample_scratch, table_scratch};
    return information_at(&p, voxel_from_point, result);
}

/* To the nearest maximum of the information (times the overlap, where shared) by BFGS with backtracking (Nocedal and
 * Wright, Numerical Optimization, 2nd ed., alg. 6.1 and 3.1).
 * A point q, relative to the pivot, goes to voxel turn (R(v) q + pivot + shift) + start.
 * parameters: [6], in mm, in and out: the rotation vector times radius_mm, then the shift.
 * voxel_mm:   the unit that steps are counted in; the first step is one unit, none is longer than MAX_STEP.
 * tolerance:  a gradient of at most this many nats per unit everywhere ends the search, as does a relative gain of
 *             1e-5; so do `iterations`.
 * Returns the information there (times the overlap, where shared). */
EXPORT double glio_climb(const float *points, const uint8_t *fixed_bin, int64_t n, const float *moving,
                         const int64_t *size, int32_t bins, float *sample_scratch, double *table_scratch,
                         const double *turn, const double *start, const double *pivot, double radius_mm,
                         double voxel_mm, double tolerance, int32_t shared, int32_t iterations, double *parameters) {
    static const double SUFFICIENT = 1e-4, RELATIVE_GAIN = 1e-5, MAX_STEP = 4.0;
    enum { TRIALS = 12 };
    const Pair p = {points, fixed_bin, n, moving, size, bins, sample_scratch, table_scratch};
    const Motion m = {turn, start, pivot, radius_mm, voxel_mm, tolerance, shared};
    double x[6], g[6], h[36], d[6], tried[6], next[6], y[6], hy[6];
    for (int i = 0; i < 6; i++) x[i] = parameters[i] / voxel_mm;
    double f = objective(&p, &m, x, g);
    int fresh = 1;
    for (int32_t k = 0; k < iterations; k++) {
        double steepest = 0.0;
        for (int i = 0; i < 6; i++) if (fabs(g[i]) > steepest) steepest = fabs(g[i]);
        if (!(steepest > 1.0)) break; /* NaN too */
        if (!fresh) {
            for (int i = 0; i < 6; i++) d[i] = -dot6(h + 6 * i, g);
            if (!(dot6(d, g) < 0.0)) fresh = 1; /* rounding has spoilt it */
        }
        if (fresh) {
            const double length = sqrt(dot6(g, g));
            for (int i = 0; i < 6; i++) d[i] = -g[i] / (length > 1.0 ? length : 1.0);
        }
        const double length = sqrt(dot6(d, d));
        double alpha = length > MAX_STEP ? MAX_STEP / length : 1.0, value = f;
        const double slope = dot6(d, g);
        int found = 0;
        for (int trial = 0; trial < TRIALS && !found; trial++) {
            for (int i = 0; i < 6; i++) tried[i] = x[i] + alpha * d[i];
            value = objective(&p, &m, tried, next);
            if (value <= f + SUFFICIENT * alpha * slope) {
                found = 1;
            } else { /* the parabola through what is known, kept away from both ends */
                const double bend = value - f - alpha * slope, best = bend > 0.0 ? -0.5 * slope * alpha * alpha / bend : 0.0;
                alpha = best < 0.1 * alpha ? 0.1 * alpha : (best > 0.5 * alpha ? 0.5 * alpha : best);
            }
        }
        if (!found) {
            if (fresh) break;
            fresh = 1;
            continue;
        }
        double sy = 0.0, yy = 0.0;
        for (int i = 0; i < 6; i++) {
            y[i] = next[i] - g[i];
            d[i] *= alpha; /* the step taken */
            sy += d[i] * y[i];
            yy += y[i] * y[i];
            x[i] = tried[i];
            g[i] = next[i];
        }
        const double gain = f - value, size_of_f = fabs(f) > fabs(value) ? fabs(f) : fabs(value);
        f = value;
        if (sy > 1e-12 * yy) {
            if (fresh) {
                for (int i = 0; i < 36; i++) h[i] = 0.0;
                for (int i = 0; i < 6; i++) h[7 * i] = sy / yy;
                fresh = 0;
            }
            for (int i = 0; i < 6; i++) hy[i] = dot6(h + 6 * i, y);
            const double factor = (1.0 + dot6(y, hy) / sy) / sy;
            for (int i = 0; i < 6; i++)
                for (int l = 0; l < 6; l++) h[6 * i + l] += factor * d[i] * d[l] - (d[i] * hy[l] + hy[i] * d[l]) / sy;
        }
        if (gain <= RELATIVE_GAIN * (size_of_f > 1.0 ? size_of_f : 1.0)) break;
    }
    for (int i = 0; i < 6; i++) parameters[i] = x[i] * voxel_mm;
    return -f * tolerance;
}

/* To be raised with every change of an argument: compiled.py compares it, since a stale library would crash. */
EXPORT int32_t glio_abi(void) { return 2; }
