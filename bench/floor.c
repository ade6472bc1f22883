/* Floor: the least that a fan-out can cost. One write for the handshake and the snapshot, one `send` a reader and change.

   `floor PORT FOLDER`, controlled as `bench/peers/__init__.py` says. It parses nothing that readers send, and does not care
   for those who are slow. */

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <endian.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define MOST 262144
#define SEND_BUFFER 16384 /* as Stoppress sets it */

static const char HEAD[] = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                           "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
static uint8_t greeting[1 << 20], change[1 << 20];
static size_t greeting_size;
static int members[MOST], place[MOST], count;

/* A server's text frame (RFC 6455, section 5.2) in front of its payload; returns how long its head is. */
static size_t frame_head(uint8_t *out, size_t size) {
    out[0] = 0x81;
    if (size < 126) return out[1] = size, 2;
    if (size < 65536) {
        out[1] = 126, out[2] = size >> 8, out[3] = size;
        return 4;
    }
    uint64_t big = htobe64(size);
    out[1] = 127;
    memcpy(out + 2, &big, 8);
    return 10;
}

static int all(int fd, void *into, size_t size) {
    for (size_t got = 0; got < size;) {
        ssize_t more = recv(fd, (char *)into + got, size - got, 0);
        if (more <= 0) return 0;
        got += more;
    }
    return 1;
}

static int publish(int control) {
    uint32_t changes, size;
    if (!all(control, &changes, 4)) return 0;
    for (changes = ntohl(changes); changes; changes--) {
        if (!all(control, &size, 4)) return 0;
        size = ntohl(size);
        if (size > sizeof change - 10) return 0;
        size_t head = frame_head(change, size);
        if (!all(control, change + head, size)) return 0;
        for (int at = 0; at < count; at++) send(members[at], change, head + size, MSG_DONTWAIT | MSG_NOSIGNAL);
    }
    return send(control, "", 1, MSG_NOSIGNAL) == 1;
}

static void leave(int fd) {
    if (place[fd] >= 0) {
        int last = members[--count];
        members[place[last] = place[fd]] = last;
        place[fd] = -1;
    }
    close(fd);
}

static int listening(int family, struct sockaddr *address, socklen_t size) {
    int fd = socket(family, SOCK_STREAM, 0), yes = 1, buffer = SEND_BUFFER;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    if (family == AF_INET) setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &buffer, sizeof buffer);
    if (bind(fd, address, size) || listen(fd, 4096)) perror("floor"), exit(1);
    return fd;
}

int main(int number, char **arguments) {
    if (number != 3) return fputs("expected floor PORT FOLDER\n", stderr), 2;
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    signal(SIGPIPE, SIG_IGN);
    memset(place, -1, sizeof place);
    static uint8_t snapshot[1 << 19];
    if (chdir(arguments[2])) return perror(arguments[2]), 1;
    FILE *file = fopen("snapshot", "rb");
    if (!file) return perror("snapshot"), 1;
    size_t size = fread(snapshot, 1, sizeof snapshot, file);
    memcpy(greeting, HEAD, greeting_size = sizeof HEAD - 1);
    greeting_size += frame_head(greeting + greeting_size, size);
    memcpy(greeting + greeting_size, snapshot, size);
    greeting_size += size;
    struct sockaddr_in here = {.sin_family = AF_INET, .sin_port = htons(atoi(arguments[1]))};
    inet_pton(AF_INET, "127.0.0.1", &here.sin_addr);
    struct sockaddr_un door = {.sun_family = AF_UNIX, .sun_path = "control"};
    int readers = listening(AF_INET, (void *)&here, sizeof here);
    int control = listening(AF_UNIX, (void *)&door, sizeof door);
    int poll = epoll_create1(0), publisher = -1;
    struct epoll_event event = {.events = EPOLLIN, .data.fd = readers}, events[256];
    epoll_ctl(poll, EPOLL_CTL_ADD, readers, &event);
    event.data.fd = control;
    epoll_ctl(poll, EPOLL_CTL_ADD, control, &event);
    for (;;) {
        int ready = epoll_wait(poll, events, 256, -1);
        for (int at = 0; at < ready; at++) {
            int fd = events[at].data.fd;
            if (fd == readers || fd == control) {
                int come = accept(fd, NULL, NULL), yes = 1;
                if (come < 0) continue;
                if (come >= MOST) { close(come); continue; }
                if (fd == control) publisher = come;
                else setsockopt(come, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
                event.data.fd = come;
                epoll_ctl(poll, EPOLL_CTL_ADD, come, &event);
            } else if (fd == publisher) {
                if (!publish(fd)) close(fd), publisher = -1;
            } else {
                char request[4096];
                ssize_t got = recv(fd, request, sizeof request, MSG_DONTWAIT);
                if (got <= 0) leave(fd);
                else if (place[fd] < 0 && got > 4 && !memcmp(request, "GET ", 4)) {
                    members[place[fd] = count++] = fd;
                    send(fd, greeting, greeting_size, MSG_DONTWAIT | MSG_NOSIGNAL);
                }
            }
        }
    }
}
