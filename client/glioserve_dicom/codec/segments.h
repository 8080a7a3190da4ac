/* What JPEG and JPEG-LS streams have in common: markers, segments, and the ways in which a stream can be refused.
 *
 * Every read is checked against the end of the stream. Nothing is allocated: the caller owns stream and image.
 */
#ifndef GLIO_SEGMENTS_H
#define GLIO_SEGMENTS_H

#include <stdint.h>
#include <string.h>

#if defined(_WIN32)
#define EXPORT __declspec(dllexport)
#else
#define EXPORT __attribute__((visibility("default")))
#endif

/* Results of a decoder; codec/jpeg.py has the same numbers. */
enum { DECODED = 0, DAMAGED = 1, UNSUPPORTED = 2, OTHER_SIZE = 3 };

enum { SOI = 0xD8, EOI = 0xD9, SOS = 0xDA, DQT = 0xDB, DRI = 0xDD, DHT = 0xC4, JPG = 0xC8, DAC = 0xCC, TEM = 0x01 };

typedef struct {
    const uint8_t *at, *end;
} span;

static int64_t left(const span *s) { return (int64_t)(s->end - s->at); }

static int32_t u8(span *s) { return s->at < s->end ? *s->at++ : -1; }

static int32_t u16(span *s) {
    if (left(s) < 2) return -1;
    const int32_t value = s->at[0] << 8 | s->at[1];
    s->at += 2;
    return value;
}

/* The next marker's second byte, after any number of fill bytes, or -1 where there is none. */
static int32_t next_marker(span *s) {
    if (u8(s) != 0xFF) return -1;
    int32_t code = 0xFF;
    while (code == 0xFF) code = u8(s);
    return code > 0 ? code : -1;
}

/* Take the segment that follows a marker, without its length, off the stream; 0 where it runs past the end. */
static int segment(span *s, span *body) {
    const int32_t length = u16(s);
    if (length < 2 || length - 2 > left(s)) return 0;
    body->at = s->at;
    body->end = s->at + (length - 2);
    s->at = body->end;
    return 1;
}

typedef struct {
    int32_t precision, component, quantiser;
} frame;

/* Read a frame header of one component of the size that the caller expects. */
static int32_t read_frame(span body, int32_t rows, int32_t columns, frame *f) {
    f->precision = u8(&body);
    const int32_t y = u16(&body), x = u16(&body), components = u8(&body);
    f->component = u8(&body);
    u8(&body); /* sampling factors mean nothing to a component alone */
    f->quantiser = u8(&body);
    if (f->quantiser < 0) return DAMAGED;
    if (components != 1) return UNSUPPORTED;
    return x == columns && y == rows ? DECODED : OTHER_SIZE;
}

#endif
