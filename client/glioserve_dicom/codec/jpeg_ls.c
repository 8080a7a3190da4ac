/* Decoding of JPEG-LS streams of one component (ITU-T T.87), lossless and near-lossless, of 2 to 16 bits, with preset
 * coding parameters. Restart intervals, palettes and sizes above 65535 are refused as unsupported.
 *
 * A stream that ends early or codes what cannot be is refused: no pixel is made up. Plain C99, no allocation, no state:
 * any number of threads may call it. Time is bounded by the numbers of bytes and pixels that the caller passes: no
 * code is longer than the standard's limit. Names of parameters and variables are the standard's.
 */
#include "segments.h"

enum { SOF55 = 0xF7, LSE = 0xF8, CONTEXTS = 365, MOST_C = 127, LEAST_C = -128 };

typedef struct {
    span data;
    uint64_t bits; /* the next ones, from the top */
    int32_t count;
    int stuffed; /* the last byte was 0xFF, so the next one has 7 bits */
} reader;

typedef struct {
    int64_t A, B;
    int32_t C, N, Nn;
} context;

typedef struct {
    int32_t maxval, t1, t2, t3, reset; /* 0 where the stream leaves them to the standard */
} preset;

typedef struct {
    reader r;
    int32_t maxval, near_, t1, t2, t3, reset, range, qbpp, limit, step, run_index;
    context regular[CONTEXTS], run[2];
} scan;

static const uint8_t J[32] = {0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2,  2,  3,  3,  3,  3,
                              4, 4, 5, 5, 6, 6, 7, 7, 8, 9, 10, 11, 12, 13, 14, 15};

static void refill(reader *r) {
    while (r->count <= 56 && r->data.at < r->data.end) {
        const uint8_t byte = *r->data.at;
        if (byte == 0xFF && left(&r->data) > 1 && r->data.at[1] >= 0x80) return; /* a marker */
        if (r->stuffed && byte >= 0x80) return;
        const int32_t width = r->stuffed ? 7 : 8;
        r->bits |= (uint64_t)byte << (64 - width - r->count);
        r->count += width;
        r->stuffed = byte == 0xFF;
        r->data.at++;
    }
}

/* The number of the next n bits, 0 to 16, or -1 where the data have ended. */
static int32_t take(reader *r, int32_t n) {
    if (r->count < n) refill(r);
    if (r->count < n) return -1;
    if (n == 0) return 0;
    const int32_t value = (int32_t)(r->bits >> (64 - n));
    r->bits <<= n;
    r->count -= n;
    return value;
}

/* T.87 A.5.3: a mapped error of at most `limit` bits, or -1. */
static int64_t golomb(scan *s, int32_t k, int32_t limit) {
    int32_t zeros = 0, bit;
    while ((bit = take(&s->r, 1)) == 0)
        if (++zeros >= limit - s->qbpp) return -1;
    if (bit < 0) return -1;
    const int escaped = zeros >= limit - s->qbpp - 1;
    const int32_t rest = take(&s->r, escaped ? s->qbpp : k);
    if (rest < 0) return -1;
    return escaped ? (int64_t)rest + 1 : ((int64_t)zeros << k) + rest;
}

static int32_t clamp(int64_t value, int32_t least, int32_t most) {
    return (int32_t)(value < least ? least : (value > most ? most : value));
}

static int32_t quantised(const scan *s, int32_t d) {
    if (d <= -s->t3) return -4;
    if (d <= -s->t2) return -3;
    if (d <= -s->t1) return -2;
    if (d < -s->near_) return -1;
    if (d <= s->near_) return 0;
    if (d < s->t1) return 1;
    if (d < s->t2) return 2;
    if (d < s->t3) return 3;
    return 4;
}

/* The sample whose prediction and error are known, modulo the range. */
static int32_t reconstructed(const scan *s, int32_t px, int64_t error) {
    int64_t rx = px + error * s->step;
    if (rx < -s->near_)
        rx += (int64_t)s->range * s->step;
    else if (rx > s->maxval + s->near_)
        rx -= (int64_t)s->range * s->step;
    return clamp(rx, 0, s->maxval);
}

static int32_t length_of(int64_t A, int32_t N) {
    int32_t k = 0;
    while (k < 16 && (int64_t)N << k < A) k++;
    return k;
}

/* T.87 A.6.1 */
static void update(const scan *s, context *c, int64_t error) {
    c->B += error * s->step;
    c->A += error < 0 ? -error : error;
    if (c->N == s->reset) {
        c->A >>= 1;
        c->B = c->B >= 0 ? c->B >> 1 : -((1 - c->B) >> 1);
        c->N >>= 1;
    }
    c->N++;
    if (c->B <= -c->N) {
        c->B += c->N;
        if (c->C > LEAST_C) c->C--;
        if (c->B <= -c->N) c->B = 1 - c->N;
    } else if (c->B > 0) {
        c->B -= c->N;
        if (c->C < MOST_C) c->C++;
        if (c->B > 0) c->B = 0;
    }
}

/* T.87 A.4 to A.6: the sample at neighbours a (left), b (above), c (above left), or -1. */
static int32_t regular_sample(scan *s, int32_t q, int32_t a, int32_t b, int32_t c) {
    const int32_t sign = q < 0 ? -1 : 1, least = a < b ? a : b, most = a < b ? b : a;
    context *at = &s->regular[sign * q];
    const int32_t k = length_of(at->A, at->N);
    const int32_t guess = c >= most ? least : (c <= least ? most : a + b - c);
    const int32_t px = clamp(guess + sign * at->C, 0, s->maxval);
    const int64_t mapped = golomb(s, k, s->limit);
    if (mapped < 0) return -1;
    int64_t error = mapped & 1 ? -((mapped + 1) >> 1) : mapped >> 1;
    if (s->near_ == 0 && k == 0 && 2 * at->B <= -at->N) error = -error - 1; /* A.5.2: the mapping is turned */
    update(s, at, error);
    return reconstructed(s, px, sign * error);
}

/* T.87 A.7.2: the sample that ends a run, or -1. */
static int32_t interrupting_sample(scan *s, int32_t a, int32_t b) {
    const int32_t apart = a < b ? b - a : a - b, type = apart <= s->near_;
    context *at = &s->run[type];
    const int32_t k = length_of(type ? at->A + (at->N >> 1) : at->A, at->N);
    const int64_t mapped = golomb(s, k, s->limit - J[s->run_index] - 1);
    if (mapped < 0) return -1;
    const int64_t turned = mapped + type, size = (turned + 1) >> 1;
    const int negative = (k != 0 || 2 * at->Nn >= at->N) == (int)(turned & 1);
    const int64_t error = negative ? -size : size;
    if (error < 0) at->Nn++;
    at->A += (mapped + 1 - type) >> 1;
    if (at->N == s->reset) {
        at->A >>= 1;
        at->N >>= 1;
        at->Nn >>= 1;
    }
    at->N++;
    return type ? reconstructed(s, a, error) : reconstructed(s, b, a > b ? -error : error);
}

/* T.87 A.7.1: the length of the run that starts here, at most `most`, or -1; *whole: it goes to the end of the line. */
static int64_t run_length(scan *s, int64_t most, int *whole) {
    int64_t run = 0;
    *whole = 1;
    while (run < most) {
        const int32_t bit = take(&s->r, 1);
        if (bit < 0) return -1;
        if (bit == 0) {
            const int32_t rest = take(&s->r, J[s->run_index]);
            *whole = 0;
            return rest < 0 || run + rest >= most ? -1 : run + rest;
        }
        const int64_t block = (int64_t)1 << J[s->run_index];
        if (block > most - run) return most;
        run += block;
        if (s->run_index < 31) s->run_index++;
    }
    return run;
}

static int32_t decode_line(scan *s, int64_t y, int64_t columns, uint16_t *row) {
    const uint16_t *above = y ? row - columns : NULL;
    const int32_t corner = y > 1 ? row[-2 * columns] : 0; /* what stands left of the line above */
    for (int64_t x = 0; x < columns; x++) {
        const int32_t b = above ? above[x] : 0, d = above ? above[x + 1 < columns ? x + 1 : x] : 0;
        const int32_t a = x ? row[x - 1] : b, c = x ? (above ? above[x - 1] : 0) : corner;
        const int32_t q = 81 * quantised(s, d - b) + 9 * quantised(s, b - c) + quantised(s, c - a);
        int32_t sample;
        if (q) {
            sample = regular_sample(s, q, a, b, c);
        } else {
            int whole;
            const int64_t run = run_length(s, columns - x, &whole);
            if (run < 0) return DAMAGED;
            for (int64_t i = 0; i < run; i++) row[x + i] = (uint16_t)a;
            x += run;
            if (whole) break;
            sample = interrupting_sample(s, a, above ? above[x] : 0);
            if (s->run_index > 0) s->run_index--;
        }
        if (sample < 0) return DAMAGED;
        row[x] = (uint16_t)sample;
    }
    return DECODED;
}

static int32_t bounded(int32_t value, int32_t least, int32_t most) {
    return value < least || value > most ? least : value;
}

static int32_t larger(int32_t one, int32_t other) { return one > other ? one : other; }

static int32_t bits_for(int32_t values) { /* ceil(log2) */
    int32_t bits = 0;
    while (bits < 17 && 1 << bits < values) bits++;
    return bits;
}

/* T.87 C.2.4.1.1 and A.2.1; 0 where the preset parameters are none. */
static int set_up(scan *s, const preset *p, int32_t precision, int32_t near_) {
    const int32_t most = (1 << precision) - 1, maxval = p->maxval ? p->maxval : most;
    if (maxval > most || near_ > 255 || near_ > maxval / 2) return 0;
    const int32_t factor = maxval >= 128 ? ((maxval < 4095 ? maxval : 4095) + 128) / 256 : 256 / (maxval + 1);
    int32_t t[3] = {3, 7, 21};
    if (maxval >= 128) {
        t[0] = factor + 2 + 3 * near_;
        t[1] = factor * 4 + 3 + 5 * near_;
        t[2] = factor * 17 + 4 + 7 * near_;
    } else {
        t[0] = larger(2, 3 / factor + 3 * near_);
        t[1] = larger(3, 7 / factor + 5 * near_);
        t[2] = larger(4, 21 / factor + 7 * near_);
    }
    s->maxval = maxval;
    s->near_ = near_;
    s->t1 = p->t1 ? p->t1 : bounded(t[0], near_ + 1, maxval);
    s->t2 = p->t2 ? p->t2 : bounded(t[1], s->t1, maxval);
    s->t3 = p->t3 ? p->t3 : bounded(t[2], s->t2, maxval);
    s->reset = p->reset ? p->reset : 64;
    if (s->t1 <= near_ || s->t2 < s->t1 || s->t3 < s->t2 || s->t3 > maxval || s->reset < 3) return 0;
    s->step = 2 * near_ + 1;
    s->range = (maxval + 2 * near_) / s->step + 1;
    s->qbpp = bits_for(s->range);
    const int32_t bpp = larger(2, bits_for(maxval + 1));
    s->limit = 2 * (bpp + larger(8, bpp));
    const int64_t A = larger(2, (s->range + 32) / 64);
    for (int32_t i = 0; i < CONTEXTS; i++) s->regular[i] = (context){A, 0, 0, 1, 0};
    for (int32_t i = 0; i < 2; i++) s->run[i] = (context){A, 0, 0, 1, 0};
    return 1;
}

/* Decode `stream` of `length` bytes into `out` [rows][columns], each sample right-aligned and unsigned.
 * Returns DECODED or why not; `out` is then undefined. *precision becomes the stream's bits a sample. */
EXPORT int32_t glio_jpeg_ls(const uint8_t *stream, int64_t length, int32_t rows, int32_t columns, int32_t *precision,
                            uint16_t *out) {
    scan s;
    preset p = {0, 0, 0, 0, 0};
    frame f = {0, 0, 0};
    span all = {stream, stream + length}, body;
    memset(&s, 0, sizeof s);
    *precision = 0;
    if (rows < 1 || columns < 1 || next_marker(&all) != SOI) return DAMAGED;
    for (;;) {
        const int32_t marker = next_marker(&all);
        if (marker < 0 || (marker >= 0xD0 && marker <= EOI) || !segment(&all, &body)) return DAMAGED;
        if (marker == SOF55) {
            const int32_t result = read_frame(body, rows, columns, &f);
            if (result != DECODED) return result;
            if (*precision || f.precision < 2 || f.precision > 16) return DAMAGED;
            *precision = f.precision;
        } else if (marker == LSE) {
            if (u8(&body) != 1) return UNSUPPORTED;
            p.maxval = u16(&body);
            p.t1 = u16(&body);
            p.t2 = u16(&body);
            p.t3 = u16(&body);
            p.reset = u16(&body);
            if (p.reset < 0) return DAMAGED;
        } else if (marker == DRI) {
            if (u16(&body) != 0) return UNSUPPORTED;
        } else if (marker == SOS) {
            const int32_t components = u8(&body), component = u8(&body), table = u8(&body);
            const int32_t near_ = u8(&body), interleave = u8(&body), shift = u8(&body);
            if (shift < 0 || !*precision || components != 1 || component != f.component) return DAMAGED;
            if (table != 0 || interleave != 0 || shift != 0) return UNSUPPORTED;
            if (!set_up(&s, &p, *precision, near_)) return DAMAGED;
            s.r.data = all;
            for (int64_t y = 0; y < rows; y++)
                if (decode_line(&s, y, columns, out + y * columns) != DECODED) return DAMAGED;
            return DECODED;
        } else if (marker >= 0xC0 && marker <= 0xCF) {
            return UNSUPPORTED;
        }
    }
}

/* To be raised with every change of an argument: compiled.py compares it, since a stale library would crash. */
EXPORT int32_t glio_abi(void) { return 2; }
