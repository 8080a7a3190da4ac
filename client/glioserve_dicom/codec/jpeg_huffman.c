/* Decoding of JPEG streams of one component (ITU-T T.81) with Huffman codes: baseline and extended sequential, of 8 and
 * 12 bits (processes 1, 2 and 4), and lossless, of 2 to 16 bits with any predictor (process 14). Restart intervals and
 * the point transform are read; arithmetic codes, progressive and hierarchical streams are refused as unsupported.
 *
 * A stream that ends early, has codes that its tables lack or markers where data should be is refused: no pixel is made
 * up. Plain C99, no allocation, no state: any number of threads may call it. Time and memory are bounded by the
 * numbers of bytes and pixels that the caller passes.
 */
#include "segments.h"

enum { MOST_VALUES = 256, LONGEST_CODE = 16, QUICK_BITS = 9, TABLES = 4 };

typedef struct {
    int defined;
    int32_t first[LONGEST_CODE + 2];  /* first code of each length */
    int32_t count[LONGEST_CODE + 2];  /* number of codes of each length */
    int32_t offset[LONGEST_CODE + 2]; /* of the first code's value */
    uint8_t value[MOST_VALUES];
    uint16_t quick[1 << QUICK_BITS]; /* length << 8 | value of the code that the bits open with; 0 for longer codes */
} huffman;

typedef struct {
    int32_t process; /* second byte of the frame header's marker; 0 before it */
    frame frame;
    int32_t interval; /* of restarts, in samples or blocks; 0 for none */
    huffman tables[2][TABLES]; /* DC or lossless, AC */
    int has_quantiser[TABLES];
    uint16_t quantiser[TABLES][64];
} state;

typedef struct {
    span data;
    uint64_t bits; /* the next ones, from the top */
    int32_t count;
} reader;

/* Row-major place of each coefficient in the order of the stream. */
static const uint8_t ZIGZAG[64] = {
    0,  1,  8,  16, 9,  2,  3,  10, 17, 24, 32, 25, 18, 11, 4,  5,  12, 19, 26, 33, 40, 48,
    41, 34, 27, 20, 13, 6,  7,  14, 21, 28, 35, 42, 49, 56, 57, 50, 43, 36, 29, 22, 15, 23,
    30, 37, 44, 51, 58, 59, 52, 45, 38, 31, 39, 46, 53, 60, 61, 54, 47, 55, 62, 63};

static int32_t read_huffman(state *s, span body) {
    while (left(&body) > 0) {
        const int32_t what = u8(&body), kind = what >> 4, place = what & 15;
        if (kind > 1 || place >= TABLES || left(&body) < LONGEST_CODE) return DAMAGED;
        huffman *t = &s->tables[kind][place];
        memset(t, 0, sizeof *t);
        int32_t total = 0, code = 0;
        for (int32_t length = 1; length <= LONGEST_CODE; length++, code <<= 1) {
            const int32_t count = u8(&body);
            t->first[length] = code;
            t->count[length] = count;
            t->offset[length] = total;
            total += count;
            code += count;
            if (code > 1 << length || total > MOST_VALUES) return DAMAGED;
        }
        if (left(&body) < total) return DAMAGED;
        memcpy(t->value, body.at, (size_t)total);
        body.at += total;
        for (int32_t length = 1; length <= QUICK_BITS; length++)
            for (int32_t n = 0; n < t->count[length]; n++) {
                const int32_t spare = QUICK_BITS - length, from = (t->first[length] + n) << spare;
                for (int32_t i = 0; i < 1 << spare; i++)
                    t->quick[from + i] = (uint16_t)(length << 8 | t->value[t->offset[length] + n]);
            }
        t->defined = 1;
    }
    return DECODED;
}

static int32_t read_quantisers(state *s, span body) {
    while (left(&body) > 0) {
        const int32_t what = u8(&body), wide = what >> 4, place = what & 15;
        if (wide > 1 || place >= TABLES || left(&body) < 64 * (wide + 1)) return DAMAGED;
        for (int32_t i = 0; i < 64; i++)
            s->quantiser[place][ZIGZAG[i]] = (uint16_t)(wide ? u16(&body) : u8(&body));
        s->has_quantiser[place] = 1;
    }
    return DECODED;
}

/* Take bytes until at least 48 bits are there or the data end, at a marker or with the stream. */
static void refill(reader *r) {
    while (r->count <= 56 && r->data.at < r->data.end) {
        const uint8_t byte = *r->data.at;
        if (byte == 0xFF) {
            if (left(&r->data) < 2 || r->data.at[1] != 0) return;
            r->data.at++;
        }
        r->data.at++;
        r->bits |= (uint64_t)byte << (56 - r->count);
        r->count += 8;
    }
}

static int32_t take(reader *r, int32_t n) { /* 1 to 16 bits, which are there */
    const int32_t value = (int32_t)(r->bits >> (64 - n));
    r->bits <<= n;
    r->count -= n;
    return value;
}

/* The value of the next code, or -1. At least 16 more bits are there after it, or the data have ended. */
static int32_t symbol(reader *r, const huffman *t) {
    if (r->count < 32) refill(r);
    const uint16_t quick = t->quick[r->bits >> (64 - QUICK_BITS)];
    if (quick) {
        if (quick >> 8 > r->count) return -1;
        take(r, quick >> 8);
        return quick & 255;
    }
    for (int32_t length = QUICK_BITS + 1; length <= LONGEST_CODE && length <= r->count; length++) {
        const int32_t n = (int32_t)(r->bits >> (64 - length)) - t->first[length];
        if (n >= 0 && n < t->count[length]) {
            take(r, length);
            return t->value[t->offset[length] + n];
        }
    }
    return -1;
}

/* The number of n bits, 1 to 16, negative where the first bit is 0; *good becomes 0 where the data have ended. */
static int32_t signed_bits(reader *r, int32_t n, int *good) {
    if (r->count < n) {
        *good = 0;
        return 0;
    }
    const int32_t value = take(r, n);
    return value < 1 << (n - 1) ? value - (1 << n) + 1 : value;
}

/* Go past the restart marker that must be next; number is its place in the scan. */
static int restart(reader *r, int64_t number) {
    r->bits = 0;
    r->count = 0;
    return next_marker(&r->data) == 0xD0 + (int32_t)(number & 7);
}

static int32_t predicted(int32_t predictor, int32_t a, int32_t b, int32_t c) {
    switch (predictor) {
        case 1: return a;
        case 2: return b;
        case 3: return c;
        case 4: return a + b - c;
        case 5: return a + ((b - c) >> 1);
        case 6: return b + ((a - c) >> 1);
        default: return (a + b) >> 1;
    }
}

static int32_t decode_lossless(const state *s, span data, const huffman *t, int32_t predictor, int32_t shift,
                               int32_t rows, int32_t columns, uint16_t *out) {
    reader r = {data, 0, 0};
    const int64_t rows_of_interval = s->interval / columns;
    if (s->interval % columns) return DAMAGED; /* T.81 H.1.1 */
    for (int64_t y = 0; y < rows; y++) {
        const int starts = y == 0 || (rows_of_interval && y % rows_of_interval == 0);
        if (y && starts && !restart(&r, y / rows_of_interval - 1)) return DAMAGED;
        uint16_t *row = out + y * columns;
        const uint16_t *above = row - columns;
        for (int32_t x = 0; x < columns; x++) {
            const int32_t bits = symbol(&r, t);
            int32_t difference = 0, guess;
            int good = bits >= 0 && bits <= 16;
            if (!good) return DAMAGED;
            if (bits == 16)
                difference = 32768; /* without bits of its own */
            else if (bits)
                difference = signed_bits(&r, bits, &good);
            if (!good) return DAMAGED;
            if (x == 0)
                guess = starts ? 1 << (s->frame.precision - shift - 1) : above[0];
            else
                guess = starts ? row[x - 1] : predicted(predictor, row[x - 1], above[x], above[x - 1]);
            row[x] = (uint16_t)(guess + difference); /* modulo 65536 */
        }
    }
    for (int64_t i = 0; shift && i < (int64_t)rows * columns; i++) out[i] = (uint16_t)(out[i] << shift);
    return DECODED;
}

/* cos(k pi / 16), k from 0 to 8. Constants, so that no machine's library rounds them otherwise. */
static const double COSINE[9] = {1.0,
                                 0.98078528040323044913,
                                 0.92387953251128675613,
                                 0.83146961230254523708,
                                 0.70710678118654752440,
                                 0.55557023301960222474,
                                 0.38268343236508977173,
                                 0.19509032201612826785,
                                 0.0};

/* basis[u][x]: the share of coefficient u in sample x of an inverse transform of 8. */
static void fill_basis(double basis[8][8]) {
    for (int32_t u = 0; u < 8; u++)
        for (int32_t x = 0; x < 8; x++) {
            int32_t k = (2 * x + 1) * u % 32;
            if (k > 16) k = 32 - k;
            const double cosine = k > 8 ? -COSINE[16 - k] : COSINE[k];
            basis[u][x] = 0.5 * cosine * (u ? 1.0 : COSINE[4]);
        }
}

/* Read one block's coefficients, times their quantisers, row-major. */
static int32_t read_block(reader *r, const huffman *dc, const huffman *ac, const uint16_t *quantiser, int64_t *last_dc,
                          double *block) {
    int good = 1;
    memset(block, 0, 64 * sizeof *block);
    const int32_t size = symbol(r, dc);
    if (size < 0 || size > 15) return DAMAGED;
    if (size) *last_dc += signed_bits(r, size, &good);
    block[0] = (double)*last_dc * quantiser[0];
    for (int32_t k = 1; good && k < 64; k++) {
        const int32_t code = symbol(r, ac), zeros = code >> 4, bits = code & 15;
        if (code < 0) return DAMAGED;
        if (bits == 0) {
            if (zeros != 15) break; /* end of block */
            k += 15;
            continue;
        }
        k += zeros;
        if (k > 63) return DAMAGED;
        block[ZIGZAG[k]] = (double)signed_bits(r, bits, &good) * quantiser[ZIGZAG[k]];
    }
    return good ? DECODED : DAMAGED;
}

static int32_t decode_transformed(const state *s, span data, const huffman *dc, const huffman *ac,
                                  const uint16_t *quantiser, int32_t rows, int32_t columns, uint16_t *out) {
    reader r = {data, 0, 0};
    double basis[8][8], block[64], half[64];
    fill_basis(basis);
    const double middle = (double)(1 << (s->frame.precision - 1)), top = 2.0 * middle - 1.0;
    const int64_t across = ((int64_t)columns + 7) / 8, blocks = across * (((int64_t)rows + 7) / 8);
    int64_t last_dc = 0;
    for (int64_t n = 0; n < blocks; n++) {
        if (n && s->interval && n % s->interval == 0) {
            if (!restart(&r, n / s->interval - 1)) return DAMAGED;
            last_dc = 0;
        }
        if (read_block(&r, dc, ac, quantiser, &last_dc, block) != DECODED) return DAMAGED;
        for (int32_t v = 0; v < 8; v++)
            for (int32_t x = 0; x < 8; x++) {
                double sum = 0.0;
                for (int32_t u = 0; u < 8; u++) sum += basis[u][x] * block[8 * v + u];
                half[8 * v + x] = sum;
            }
        const int64_t y0 = n / across * 8, x0 = n % across * 8;
        for (int64_t y = 0; y < 8 && y0 + y < rows; y++)
            for (int64_t x = 0; x < 8 && x0 + x < columns; x++) {
                double sum = middle + 0.5;
                for (int32_t v = 0; v < 8; v++) sum += basis[v][y] * half[8 * v + x];
                out[(y0 + y) * columns + x0 + x] = (uint16_t)(sum < 0.0 ? 0.0 : (sum > top ? top : sum));
            }
    }
    return DECODED;
}

static int32_t read_scan(const state *s, span body, span data, int32_t rows, int32_t columns, uint16_t *out) {
    const int32_t components = u8(&body), component = u8(&body), tables = u8(&body);
    const int32_t start = u8(&body), end = u8(&body), bits = u8(&body);
    if (bits < 0 || components != 1 || component != s->frame.component) return DAMAGED;
    const int32_t dc = tables >> 4, ac = tables & 15;
    if (dc >= TABLES || ac >= TABLES || !s->tables[0][dc].defined) return DAMAGED;
    if (s->process == 0xC3) {
        const int32_t shift = bits & 15;
        if (start < 1 || start > 7 || shift >= s->frame.precision) return DAMAGED;
        return decode_lossless(s, data, &s->tables[0][dc], start, shift, rows, columns, out);
    }
    const int32_t quantiser = s->frame.quantiser;
    if (start != 0 || end != 63 || bits != 0 || !s->tables[1][ac].defined) return DAMAGED;
    if (quantiser >= TABLES || !s->has_quantiser[quantiser]) return DAMAGED;
    return decode_transformed(s, data, &s->tables[0][dc], &s->tables[1][ac], s->quantiser[quantiser], rows, columns, out);
}

static int precision_fits(int32_t process, int32_t precision) {
    if (process == 0xC3) return precision >= 2 && precision <= 16;
    return precision == 8 || (process == 0xC1 && precision == 12);
}

/* Decode `stream` of `length` bytes into `out` [rows][columns], each sample right-aligned and unsigned.
 * Returns DECODED or why not; `out` is then undefined. *precision becomes the stream's bits a sample. */
EXPORT int32_t glio_jpeg_huffman(const uint8_t *stream, int64_t length, int32_t rows, int32_t columns, int32_t *precision,
                         uint16_t *out) {
    state s;
    span all = {stream, stream + length}, body;
    int32_t result = DECODED;
    memset(&s, 0, sizeof s);
    *precision = 0;
    if (rows < 1 || columns < 1 || next_marker(&all) != SOI) return DAMAGED;
    for (;;) {
        const int32_t marker = next_marker(&all);
        if (marker == TEM) continue;
        if (marker < 0 || (marker >= 0xD0 && marker <= EOI) || !segment(&all, &body)) return DAMAGED;
        if (marker == DHT) {
            result = read_huffman(&s, body);
        } else if (marker == DQT) {
            result = read_quantisers(&s, body);
        } else if (marker == DRI) {
            s.interval = u16(&body);
            if (s.interval < 0) return DAMAGED;
        } else if (marker == SOS) {
            if (!s.process) return DAMAGED;
            return read_scan(&s, body, all, rows, columns, out);
        } else if (marker >= 0xC0 && marker <= 0xCF) {
            if (marker != 0xC0 && marker != 0xC1 && marker != 0xC3) return UNSUPPORTED;
            if (s.process) return DAMAGED;
            s.process = marker;
            result = read_frame(body, rows, columns, &s.frame);
            if (result == DECODED && !precision_fits(marker, s.frame.precision)) return DAMAGED;
            *precision = s.frame.precision;
        }
        if (result != DECODED) return result;
    }
}

/* To be raised with every change of an argument: compiled.py compares it, since a stale library would crash. */
EXPORT int32_t glio_abi(void) { return 2; }
