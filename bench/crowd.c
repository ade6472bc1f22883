/* Crowd: many readers in one process and one epoll, so light that the server is what is measured.

   Told what to do on stdin, a command a line; each is answered by a line of JSON. `bench/README.md` lists the commands;
   `bench/readers.py` speaks the same, for machines without a C compiler. */

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define MARK "Line of "
#define MARK_SIZE (sizeof MARK - 1)
#define DIGITS 19
#define CARRY (MARK_SIZE + DIGITS - 1) /* what may hold the beginning of a mark */
#define SNAPSHOT 1000                  /* a text frame longer than this is one */
#define BUFFER (1 << 18)
#define MOST_EVENTS 512
#define WHEEL 8192 /* milliseconds that an ack may be held */
#define LINES 65536
#define OPENING_SECONDS 30 /* for one `open` */
/* How often it looks, in ns. One that waits for each message is woken for each, which is paid for by whoever sends it: up
   to a third of what a `send` costs on loopback, and nothing that a server with readers elsewhere would know. */
#define PACE 250000
#define BUSY 50000000 /* for so long after the last message it does not wait for the next */

enum state { FREE, CONNECTING, HEAD, OPENING, OPEN };

struct reader {
    int fd, next_ack;
    enum state state;
    bool storm, acks;
    uint8_t head[14], head_size, opcode, control[126], control_size;
    char status[13], carry[CARRY], cursor[48];
    uint8_t status_size, ends, carry_size;
    uint64_t left, size;
    uint32_t lines;
    int64_t began, heard, latest; /* ns; the latest mark */
};

static struct reader *readers;
static int capacity, used, open_count, lost, failed, opening, wanted, in_flight;
static int *free_slots, free_count;
static int epoll;
static struct sockaddr_in server = {.sin_family = AF_INET};
static uint8_t request[16384], after[1024];
static size_t request_size, after_size;
static char buffer[BUFFER + CARRY];

/* What was heard since `listen`. */
static uint32_t *taken;
static size_t taken_count, taken_capacity;
static struct { int64_t mark, last; } lines[LINES];
static int line_count, target, satisfied, wrong;
static int64_t listen_ns, listen_cpu;

/* The command that is not answered yet. */
static enum { NOTHING, OPENS, AWAITS } pending;
static int64_t pending_ends, pending_began, pending_cpu;
static bool held;

/* The storm. */
static bool storming;
static double storm_rate;
static int storm_most, storm_in_flight, storm_failed;
static int64_t storm_ns, storm_cpu, storm_started;
static uint32_t *storm_taken;
static size_t storm_count, storm_capacity;

static int ack_ms, wheel[WHEEL];
static int64_t wheel_at; /* ms */

static int64_t now_of(clockid_t clock) {
    struct timespec at;
    clock_gettime(clock, &at);
    return at.tv_sec * 1000000000LL + at.tv_nsec;
}
static int64_t now(void) { return now_of(CLOCK_REALTIME); }
static int64_t cpu(void) { return now_of(CLOCK_PROCESS_CPUTIME_ID); }

static void keep(uint32_t **list, size_t *count, size_t *room, uint32_t value) {
    if (*count == *room) {
        *room = *room ? *room * 2 : 1 << 16;
        *list = realloc(*list, *room * sizeof **list);
    }
    (*list)[(*count)++] = value;
}

static int by_value(const void *a, const void *b) {
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

/* The value that `share` of a sorted list lie below, in ms. */
static double percentile(uint32_t *list, size_t count, double share) {
    return count ? list[(size_t)(share * (count - 1))] / 1000.0 : 0;
}

static void let_go(struct reader *each, bool reset) {
    struct linger linger = {1, 0};
    if (reset) setsockopt(each->fd, SOL_SOCKET, SO_LINGER, &linger, sizeof linger);
    close(each->fd);
    if (each->storm) storm_in_flight--;
    else if (each->state == OPEN) open_count--, satisfied -= target && each->lines >= (uint32_t)target;
    else opening--;
    each->state = FREE;
    if (!each->acks) free_slots[free_count++] = each - readers; /* else the wheel still points at it */
}

static void fail(struct reader *each) {
    if (each->storm) storm_failed++;
    else if (each->state == OPEN) lost++;
    else failed++;
    let_go(each, true);
}

static void send_all(struct reader *each, const void *data, size_t size) {
    if (send(each->fd, data, size, MSG_NOSIGNAL) != (ssize_t)size) fail(each);
}

/* A masked frame with a mask of zeroes (RFC 6455, section 5.3). */
static void send_frame(struct reader *each, uint8_t first, const void *data, size_t size) {
    uint8_t frame[6 + 125] = {first, 0x80 | size};
    memcpy(frame + 6, data, size);
    send_all(each, frame, 6 + size);
}

static void begin(bool storm) {
    int slot = free_count ? free_slots[--free_count] : used++;
    struct reader *each = readers + slot;
    memset(each, 0, sizeof *each);
    each->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    each->state = CONNECTING;
    each->storm = storm;
    each->began = now();
    if (storm) storm_in_flight++;
    else opening++, wanted--;
    if (each->fd < 0 || (connect(each->fd, (struct sockaddr *)&server, sizeof server) && errno != EINPROGRESS)) {
        fail(each);
        return;
    }
    int yes = 1;
    setsockopt(each->fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
    struct epoll_event event = {.events = EPOLLOUT, .data.u32 = slot};
    epoll_ctl(epoll, EPOLL_CTL_ADD, each->fd, &event);
}

static void heard_line(struct reader *each, int64_t mark) {
    if (!listen_ns || each->state != OPEN) return;
    wrong += mark <= each->latest; /* once more, or after a later one */
    each->latest = mark;
    int64_t took = (each->heard - mark) / 1000;
    keep(&taken, &taken_count, &taken_capacity, took > 0 ? took : 0);
    int at = line_count - 1;
    while (at >= 0 && lines[at].mark != mark) at--;
    if (at < 0 && line_count < LINES) lines[at = line_count++].mark = mark;
    if (at >= 0 && lines[at].last < each->heard) lines[at].last = each->heard;
    each->lines++;
    if (target && each->lines == (uint32_t)target) satisfied++;
}

static void look_for_lines(struct reader *each, char *data, size_t size) {
    char *at = data, *end = data + size;
    while ((at = memmem(at, end - at, MARK, MARK_SIZE)) && end - at >= (ptrdiff_t)(MARK_SIZE + DIGITS)) {
        char digits[DIGITS + 1];
        at += MARK_SIZE;
        memcpy(digits, at, DIGITS);
        digits[DIGITS] = 0;
        heard_line(each, strtoll(digits, NULL, 10));
    }
}

/* A text frame begins: remember its cursor if it is a change, and confirm that after a while. */
static void plan_ack(struct reader *each, char *data, size_t size) {
    static const char item[] = "{\"type\":\"item\",\"cursor\":\"", removal[] = "{\"type\":\"remove\",\"cursor\":\"";
    size_t skip = size > sizeof item && !memcmp(data, item, sizeof item - 1)        ? sizeof item - 1
                  : size > sizeof removal && !memcmp(data, removal, sizeof removal - 1) ? sizeof removal - 1
                                                                                      : 0;
    char *end = skip ? memchr(data + skip, '"', size - skip) : NULL;
    if (!end || end - data - skip >= sizeof each->cursor) return;
    memcpy(each->cursor, data + skip, end - data - skip);
    each->cursor[end - data - skip] = 0;
    if (each->acks) return;
    each->acks = true;
    each->began = each->heard;
    int slot = (each->heard / 1000000 + 1 + (ack_ms ? random() % ack_ms : 0)) % WHEEL;
    each->next_ack = wheel[slot];
    wheel[slot] = each - readers;
}

static void turn_wheel(void) {
    for (int64_t until = now() / 1000000; wheel_at < until; wheel_at++) {
        int slot = (wheel_at + 1) % WHEEL, at = wheel[slot];
        wheel[slot] = -1;
        while (at >= 0) {
            struct reader *each = readers + at;
            at = each->next_ack;
            each->acks = false;
            if (each->state != OPEN) {
                if (each->state == FREE) free_slots[free_count++] = each - readers;
                continue;
            }
            char text[126];
            int size = snprintf(text, sizeof text, "{\"type\":\"ack\",\"cursor\":\"%s\",\"held\":%d}", each->cursor,
                                (int)((now() - each->began) / 1000000));
            send_frame(each, 0x81, text, size);
        }
    }
}

static void frame_ended(struct reader *each) {
    if (each->opcode == 9) send_frame(each, 0x8a, each->control, each->control_size);
    else if (each->opcode == 8) fail(each);
    else if (each->opcode == 1 && each->size == 1 && each->control[0] == '2') send_frame(each, 0x81, "3", 1);
    else if (each->opcode == 1 && each->size > SNAPSHOT && each->state == OPENING) {
        if (each->storm) {
            keep(&storm_taken, &storm_count, &storm_capacity, (now() - each->began) / 1000);
            let_go(each, true);
        } else {
            each->state = OPEN;
            opening--, open_count++;
        }
    }
}

/* Take in frames of a server (RFC 6455, section 5.2); `data` has room for what is carried before it. */
static void frames(struct reader *each, char *data, size_t size) {
    while (each->state >= OPENING && (size || (each->head_size && !each->left))) {
        if (!each->left) {
            size_t need = 2;
            while (each->head_size < need && size) {
                each->head[each->head_size++] = *data++, size--;
                if (each->head_size >= 2) need = (each->head[1] & 127) == 126 ? 4 : (each->head[1] & 127) == 127 ? 10 : 2;
            }
            if (each->head_size < need) return;
            uint64_t length = each->head[1] & 127;
            if (need > 2) {
                length = 0;
                for (size_t at = 2; at < need; at++) length = length << 8 | each->head[at];
            }
            each->opcode = each->head[0] & 15;
            each->left = each->size = length;
            each->control_size = each->carry_size = 0;
            if (each->opcode == 1 && ack_ms >= 0 && each->state == OPEN) plan_ack(each, data, size);
            if (!length) {
                each->head_size = 0;
                frame_ended(each);
                continue;
            }
        }
        size_t part = each->left < size ? each->left : size;
        if (!part) return;
        if (each->size < 126) {
            memcpy(each->control + each->control_size, data, part);
            each->control_size += part;
        }
        if (each->opcode <= 2) {
            /* The beginning of a mark may have come with the part before: it goes in front, over what is done with. */
            char over[CARRY];
            size_t carried = each->carry_size;
            memcpy(over, data - carried, carried);
            memcpy(data - carried, each->carry, carried);
            look_for_lines(each, data - carried, part + carried);
            if (part < each->left) {
                size_t tail = part + carried < CARRY ? part + carried : CARRY;
                memcpy(each->carry, data + part - tail, tail);
                each->carry_size = tail;
            }
            memcpy(data - carried, over, carried);
        }
        data += part, size -= part, each->left -= part;
        if (!each->left) {
            each->head_size = 0;
            frame_ended(each);
        }
    }
}

static void take(struct reader *each, uint32_t events) {
    if (each->state == CONNECTING) {
        int error = 0;
        socklen_t size = sizeof error;
        getsockopt(each->fd, SOL_SOCKET, SO_ERROR, &error, &size);
        if (error || !(events & EPOLLOUT)) {
            fail(each);
            return;
        }
        struct epoll_event event = {.events = EPOLLIN, .data.u32 = each - readers};
        epoll_ctl(epoll, EPOLL_CTL_MOD, each->fd, &event);
        each->state = HEAD;
        send_all(each, request, request_size);
        return;
    }
    char *data = buffer + CARRY;
    ssize_t got = recv(each->fd, data, BUFFER, 0);
    if (got < 0 && errno == EAGAIN) return;
    if (got <= 0) {
        fail(each);
        return;
    }
    each->heard = now();
    if (each->state == HEAD) {
        while (got && each->state == HEAD) {
            if (each->status_size < 12) each->status[each->status_size++] = *data;
            each->ends = *data == "\r\n\r\n"[each->ends] ? each->ends + 1 : *data == '\r';
            data++, got--;
            if (each->ends == 4) {
                if (strncmp(each->status, "HTTP/1.1 101", 12)) {
                    fail(each);
                    return;
                }
                each->state = OPENING;
                if (after_size) send_all(each, after, after_size);
            }
        }
    }
    if (each->state >= OPENING) frames(each, data, got);
}

static size_t from_hex(const char *hex, uint8_t *bytes, size_t room) {
    size_t size = 0;
    unsigned value;
    while (size < room && sscanf(hex + 2 * size, "%2x", &value) == 1) bytes[size++] = value;
    return size;
}

static void answer_open(void) {
    /* Whoever is not in by now never will be. */
    for (int at = 0; at < used && opening; at++)
        if (readers[at].state != FREE && readers[at].state != OPEN && !readers[at].storm) fail(readers + at);
    failed += wanted, wanted = 0;
    printf("{\"open\": %d, \"failed\": %d, \"seconds\": %.6f, \"cpu\": %.6f}\n", open_count, failed,
           (now() - pending_began) / 1e9, (cpu() - pending_cpu) / 1e9);
    pending = NOTHING;
}

static void answer_await(void) {
    int short_count = open_count - satisfied;
    qsort(taken, taken_count, sizeof *taken, by_value);
    printf("{\"heard\": %zu, \"short\": %d, \"wrong\": %d, \"p50\": %.3f, \"p99\": %.3f, \"max\": %.3f, \"last\": [", taken_count,
           short_count, wrong, percentile(taken, taken_count, 0.5), percentile(taken, taken_count, 0.99),
           percentile(taken, taken_count, 1));
    for (int at = 0; at < line_count; at++)
        printf("%s%.3f", at ? ", " : "", (lines[at].last - lines[at].mark) / 1e6);
    printf("], \"seconds\": %.6f, \"cpu\": %.6f}\n", (now() - listen_ns) / 1e9, (cpu() - listen_cpu) / 1e9);
    pending = NOTHING;
}

static bool obey(char *line) {
    char *word = strtok(line, " \n"), *one = strtok(NULL, " \n"), *two = strtok(NULL, " \n");
    if (!word) return true;
    if (!strcmp(word, "port") && one) server.sin_port = htons(atoi(one));
    else if (!strcmp(word, "request") && one) {
        request_size = from_hex(one, request, sizeof request);
        after_size = two ? from_hex(two, after, sizeof after) : 0;
    } else if (!strcmp(word, "open") && one && two) {
        wanted = atoi(one), in_flight = atoi(two), failed = 0;
        pending = OPENS, pending_began = now(), pending_cpu = cpu();
        pending_ends = pending_began + OPENING_SECONDS * 1000000000LL;
        return true;
    } else if (!strcmp(word, "listen")) {
        taken_count = 0, line_count = target = satisfied = wrong = 0;
        for (int at = 0; at < used; at++) readers[at].lines = readers[at].latest = 0;
        listen_ns = now(), listen_cpu = cpu();
    } else if (!strcmp(word, "await") && one && two) {
        target = atoi(one), satisfied = 0;
        for (int at = 0; at < used; at++) satisfied += readers[at].state == OPEN && readers[at].lines >= (uint32_t)target;
        pending = AWAITS, pending_ends = now() + (int64_t)(atof(two) * 1e9);
        return true;
    } else if (!strcmp(word, "hold")) held = true;
    else if (!strcmp(word, "go")) held = false;
    else if (!strcmp(word, "storm") && one && two) {
        storm_rate = atof(one), storm_most = atoi(two), storming = true;
        storm_count = storm_failed = storm_started = 0, storm_ns = now(), storm_cpu = cpu();
    } else if (!strcmp(word, "calm")) {
        storming = false;
        qsort(storm_taken, storm_count, sizeof *storm_taken, by_value);
        printf("{\"handshakes\": %zu, \"failed\": %d, \"seconds\": %.6f, \"cpu\": %.6f, \"p50\": %.3f, \"p99\": %.3f}\n",
               storm_count, storm_failed, (now() - storm_ns) / 1e9, (cpu() - storm_cpu) / 1e9,
               percentile(storm_taken, storm_count, 0.5), percentile(storm_taken, storm_count, 0.99));
        return true;
    } else if (!strcmp(word, "acks") && one) ack_ms = atoi(one) < WHEEL ? atoi(one) : WHEEL - 1;
    else if (!strcmp(word, "state")) {
        printf("{\"open\": %d, \"lost\": %d, \"handshakes\": %zu}\n", open_count, lost, storm_count);
        return true;
    } else if (!strcmp(word, "close")) {
        for (int at = 0; at < used; at++)
            if (readers[at].state != FREE) let_go(readers + at, true);
        lost = 0, listen_ns = 0, ack_ms = -1;
    } else {
        fprintf(stderr, "expected a command as in bench/README.md, got %s\n", word);
        return false;
    }
    puts("{}");
    return true;
}

int main(void) {
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    capacity = files.rlim_max;
    if (capacity > 1 << 20) capacity = 1 << 20;
    readers = calloc(capacity, sizeof *readers);
    free_slots = calloc(capacity, sizeof *free_slots);
    inet_pton(AF_INET, "127.0.0.1", &server.sin_addr);
    setvbuf(stdout, NULL, _IOLBF, 0);
    fcntl(0, F_SETFL, O_NONBLOCK);
    epoll = epoll_create1(0);
    ack_ms = -1;
    for (int at = 0; at < WHEEL; at++) wheel[at] = -1;
    wheel_at = now() / 1000000;
    static char text[1 << 17];
    size_t text_size = 0;
    struct epoll_event events[MOST_EVENTS];
    int64_t busy = 0;
    bool told = false;
    struct pollfd both[2] = {{0, POLLIN, 0}, {epoll, POLLIN, 0}};
    for (;;) {
        if (told) told = false;
        else if (storming || wanted || now() < busy) nanosleep(&(struct timespec){0, PACE}, NULL);
        else poll(both, held ? 1 : 2, ack_ms >= 0 ? 1 : pending ? 20 : 1000);
        int count = held ? 0 : epoll_wait(epoll, events, MOST_EVENTS, 0);
        for (int at = 0; at < count; at++) {
            struct reader *each = readers + events[at].data.u32;
            if (each->state != FREE) take(each, events[at].events);
        }
        if (count == MOST_EVENTS) told = true;
        if (count) busy = now() + BUSY;
        if (ack_ms >= 0) turn_wheel();
        else wheel_at = now() / 1000000;
        if (storming) {
            int64_t due = storm_rate > 0 ? (int64_t)((now() - storm_ns) / 1e9 * storm_rate) : INT64_MAX;
            while (storm_in_flight < storm_most && storm_started < due) storm_started++, begin(true);
        }
        while (wanted && opening < in_flight) begin(false);
        if (pending == OPENS && ((!wanted && !opening) || now() > pending_ends)) answer_open();
        if (pending == AWAITS && (satisfied == open_count || now() > pending_ends)) answer_await();
        ssize_t got = text_size < sizeof text - 1 ? read(0, text + text_size, sizeof text - 1 - text_size) : -1;
        if (got == 0) return 0;
        if (got > 0) text_size += got;
        char *end;
        while (!pending && (end = memchr(text, '\n', text_size))) {
            *end = 0;
            bool good = told = obey(text);
            text_size -= end + 1 - text;
            memmove(text, end + 1, text_size);
            if (!good) return 1;
        }
    }
}
