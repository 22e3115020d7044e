/* Wires with a delay and random loss between network interfaces, for kernels without netem. Built and run
by wires.py.

   wire [-s SEED] FROM,TO,DELAY_MS,LOSS_PERCENT,SLOTS ...

Each argument is one wire, in one direction: what arrives at the interface FROM leaves by the interface TO
after the delay, in the order of arrival, unless it is lost. Whether frame k of a wire is lost depends on
SEED, the place of the wire among the arguments and k alone. At most SLOTS frames are on a wire; more are
counted as overflow. One process carries all wires of a network. It prints `ready`, carries frames until
SIGTERM, prints its counters as a line of JSON and ends with 0.

The kernel writes arrivals and their times into a ring of memory (packet(7), PACKET_RX_RING), and sendmmsg
takes them from there when they are due. Wakes are at least QUANTUM apart, and each sends what is due up to
half of that later, so that a frame is at most some 150 us early or late and many frames share the cost of a
wake. Frames must be whole: the hosts have segmentation (tso, gso) and checksum offload (tx) turned off. A
frame without checksum is counted as unfinished and dropped, a longer one than a slot as cut. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { SLOT = 2048, RING_BLOCK = 1 << 16, SLOTS_MOST = 1 << 18, WIRES_MOST = 512, BATCH = 64 };
enum { SEND_BUFFER = 1 << 26 };
static const int64_t MS = 1000000, QUANTUM = 300000, SECOND = 1000000000;

struct wire {
    int in, out;
    char *ring;
    uint32_t slots, head;   /* head: the slot of the oldest frame on the wire */
    int64_t delay;
    uint64_t key, limit;    /* a frame is lost when its number, mixed with the key, is below the limit */
    uint64_t frames, bytes, lost, unfinished, cut, failed, late, lateness;
    int64_t late_most;
};

enum verdict { PASS, LOST, UNFINISHED, CUT };

static struct wire wires[WIRES_MOST];
static volatile sig_atomic_t ended;

static void end(int signal) { (void)signal; ended = 1; }

static void fail(const char *what)
{
    fprintf(stderr, "wire: %s: %s\n", what, strerror(errno));
    exit(1);
}

/* The time by the clock that also stamps the frames. */
static int64_t clock_now(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return now.tv_sec * SECOND + now.tv_nsec;
}

/* A number that looks random for each different input (the finalizer of MurmurHash3). */
static uint64_t mix(uint64_t n)
{
    n = (n ^ n >> 33) * 0xff51afd7ed558ccdULL;
    n = (n ^ n >> 33) * 0xc4ceb9fe1a85ec53ULL;
    return n ^ n >> 33;
}

static struct tpacket2_hdr *slot(const struct wire *wire, uint32_t index)
{
    return (void *)(wire->ring + (size_t)index * SLOT);
}

/* The frame in a slot, or nothing while the slot is the kernel's. */
static struct tpacket2_hdr *arrived(const struct wire *wire, uint32_t index)
{
    struct tpacket2_hdr *frame = slot(wire, index);
    return __atomic_load_n(&frame->tp_status, __ATOMIC_ACQUIRE) & TP_STATUS_USER ? frame : NULL;
}

static int open_socket(const char *name, int protocol)
{
    struct sockaddr_ll address = { .sll_family = AF_PACKET, .sll_protocol = htons(protocol),
                                   .sll_ifindex = if_nametoindex(name) };
    /* Protocol 0 until it is bound, so that no frame of another interface comes in. */
    int fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0);
    if (fd < 0 || !address.sll_ifindex) fail(name);
    int version = TPACKET_V2, yes = 1;
    if (setsockopt(fd, SOL_PACKET, PACKET_VERSION, &version, sizeof version)) fail("PACKET_VERSION");
    if (setsockopt(fd, SOL_PACKET, PACKET_IGNORE_OUTGOING, &yes, sizeof yes)) fail("PACKET_IGNORE_OUTGOING");
    if (!protocol && setsockopt(fd, SOL_PACKET, PACKET_QDISC_BYPASS, &yes, sizeof yes)) {
        fail("PACKET_QDISC_BYPASS");
    }
    if (bind(fd, (void *)&address, sizeof address)) fail(name);
    return fd;
}

/* Lay a wire as an argument says. */
static void lay(struct wire *wire, const char *text, uint64_t key)
{
    char from[IF_NAMESIZE], to[IF_NAMESIZE];
    double delay, loss;
    unsigned slots;
    if (sscanf(text, "%15[^,],%15[^,],%lf,%lf,%u", from, to, &delay, &loss, &slots) != 5 || delay < 0 ||
        delay > 10000 || loss < 0 || loss > 100 || slots < 1 || slots > SLOTS_MOST) {
        fprintf(stderr, "wire: not FROM,TO,DELAY_MS,LOSS_PERCENT,SLOTS: %s\n", text);
        exit(2);
    }
    uint32_t in_block = RING_BLOCK / SLOT, blocks = (slots + in_block - 1) / in_block;
    struct tpacket_req ring = { .tp_block_size = RING_BLOCK, .tp_block_nr = blocks, .tp_frame_size = SLOT,
                                .tp_frame_nr = blocks * in_block };
    int buffer = SEND_BUFFER;
    wire->in = open_socket(from, ETH_P_ALL);
    wire->out = open_socket(to, 0);
    /* Refused in a user namespace: then frames that wait in a queue behind TO may hold others up. */
    setsockopt(wire->out, SOL_SOCKET, SO_SNDBUFFORCE, &buffer, sizeof buffer);
    if (setsockopt(wire->in, SOL_PACKET, PACKET_RX_RING, &ring, sizeof ring)) fail("PACKET_RX_RING");
    wire->slots = ring.tp_frame_nr;
    wire->ring = mmap(NULL, (size_t)wire->slots * SLOT, PROT_READ | PROT_WRITE, MAP_SHARED, wire->in, 0);
    if (wire->ring == MAP_FAILED) fail("mmap");
    wire->delay = (int64_t)(delay * MS);
    wire->key = mix(key);
    wire->limit = loss >= 100 ? UINT64_MAX : (uint64_t)(loss / 100 * 0x1p64);
}

static int64_t due(const struct wire *wire, const struct tpacket2_hdr *frame, int64_t now)
{
    int64_t stamp = frame->tp_sec * SECOND + frame->tp_nsec;
    /* A clock that was set back must not hold frames for longer than the delay. */
    return (stamp < now ? stamp : now) + wire->delay;
}

static enum verdict judge(const struct wire *wire, const struct tpacket2_hdr *frame, uint64_t number)
{
    if (mix(wire->key + number) < wire->limit) return LOST;
    if (frame->tp_status & TP_STATUS_CSUMNOTREADY) return UNFINISHED;
    return frame->tp_snaplen < frame->tp_len ? CUT : PASS;
}

/* Count the oldest frame and give its slot back. */
static void retire(struct wire *wire, enum verdict verdict, int64_t now)
{
    struct tpacket2_hdr *frame = slot(wire, wire->head);
    int64_t late = now - due(wire, frame, now);
    if (late > 0) wire->lateness += late;
    if (late > MS) wire->late++;
    if (late > wire->late_most) wire->late_most = late;
    wire->frames++;
    wire->bytes += frame->tp_len;
    wire->lost += verdict == LOST;
    wire->unfinished += verdict == UNFINISHED;
    wire->cut += verdict == CUT;
    __atomic_store_n(&frame->tp_status, TP_STATUS_KERNEL, __ATOMIC_RELEASE);
    wire->head = (wire->head + 1) % wire->slots;
}

/* Send what is due, at most BATCH frames; whether there may be more. */
static bool carry(struct wire *wire)
{
    enum verdict verdicts[BATCH];
    struct iovec parts[BATCH];
    struct mmsghdr messages[BATCH];
    int64_t now = clock_now();
    unsigned seen = 0, passing = 0;
    uint32_t index = wire->head;
    for (; seen < BATCH; seen++, index = (index + 1) % wire->slots) {
        struct tpacket2_hdr *frame = seen < wire->slots ? arrived(wire, index) : NULL;
        if (!frame || due(wire, frame, now) > now + QUANTUM / 2) break;
        verdicts[seen] = judge(wire, frame, wire->frames + seen);
        if (verdicts[seen] != PASS) continue;
        parts[passing] = (struct iovec){ (char *)frame + frame->tp_mac, frame->tp_snaplen };
        messages[passing] = (struct mmsghdr){ .msg_hdr = { .msg_iov = &parts[passing], .msg_iovlen = 1 } };
        passing++;
    }
    int sent = passing ? sendmmsg(wire->out, messages, passing, MSG_DONTWAIT) : 0;
    /* What waits for the send buffer stays on the wire. Another error is of the first frame: it is gone. */
    bool waits = sent < 0 && errno == EAGAIN, gone = sent < 0 && !waits;
    unsigned through = gone ? 1 : waits ? 0 : (unsigned)sent, counted = 0;
    wire->failed += gone;
    now = clock_now();
    for (unsigned number = 0; number < seen; number++) {
        if (verdicts[number] == PASS && counted++ == through) return !waits;
        retire(wire, verdicts[number], now);
    }
    return seen == BATCH;
}

/* Sleep until something is due or arrives. */
static void rest(unsigned count, const sigset_t *mask)
{
    struct pollfd watched[WIRES_MOST];
    int64_t now = clock_now(), wake = INT64_MAX;
    unsigned some = 0;
    for (unsigned i = 0; i < count; i++) {
        const struct tpacket2_hdr *frame = arrived(&wires[i], wires[i].head);
        int64_t next = frame ? due(&wires[i], frame, now) : INT64_MAX;
        wake = next < wake ? next : wake;
    }
    bool idle = wake == INT64_MAX;
    for (unsigned i = 0; i < count; i++) {
        if (arrived(&wires[i], wires[i].head)) continue;
        /* What arrives on an empty wire is not due before its delay is over: a poll is for short ones. */
        if (idle || wires[i].delay < 2 * QUANTUM) watched[some++] = (struct pollfd){ wires[i].in, POLLIN, 0 };
        else if (now + wires[i].delay < wake) wake = now + wires[i].delay;
    }
    int64_t pause = wake - now > QUANTUM ? wake - now : QUANTUM;
    struct timespec timeout = { pause / SECOND, pause % SECOND };
    ppoll(watched, some, idle ? NULL : &timeout, mask);
}

static double seconds(struct timeval time) { return (double)time.tv_sec + (double)time.tv_usec / 1e6; }

static void report(unsigned count)
{
    struct wire all = { 0 };
    uint64_t overflow = 0;
    for (unsigned i = 0; i < count; i++) {
        struct wire *wire = &wires[i];
        struct tpacket_stats kernel = { 0 };
        socklen_t size = sizeof kernel;
        getsockopt(wire->in, SOL_PACKET, PACKET_STATISTICS, &kernel, &size);
        overflow += kernel.tp_drops;
        all.frames += wire->frames, all.bytes += wire->bytes, all.lost += wire->lost, all.cut += wire->cut;
        all.unfinished += wire->unfinished, all.failed += wire->failed, all.late += wire->late;
        all.lateness += wire->lateness;
        if (wire->late_most > all.late_most) all.late_most = wire->late_most;
    }
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    double cpu = seconds(usage.ru_utime) + seconds(usage.ru_stime);
    printf("{\"wires\": %u, \"frames\": %lu, \"bytes\": %lu, \"lost\": %lu, \"overflow\": %lu, "
           "\"unfinished\": %lu, \"cut\": %lu, \"failed\": %lu, \"late\": %lu, \"late_mean_us\": %.1f, "
           "\"late_most_ms\": %.3f, \"cpu_s\": %.3f}\n", count, all.frames, all.bytes, all.lost, overflow,
           all.unfinished, all.cut, all.failed, all.late, all.frames ? all.lateness / 1e3 / all.frames : 0, all.late_most / 1e6, cpu);
}

int main(int argc, char **argv)
{
    uint64_t seed = 1;
    int option;
    while ((option = getopt(argc, argv, "s:")) != -1) {
        if (option != 's') return 2;
        seed = strtoull(optarg, NULL, 10);
    }
    unsigned count = argc - optind;
    if (count < 1 || count > WIRES_MOST) {
        fprintf(stderr, "usage: wire [-s SEED] FROM,TO,DELAY_MS,LOSS_PERCENT,SLOTS ...\n");
        return 2;
    }
    sigset_t blocked, mask;
    sigemptyset(&blocked);
    sigaddset(&blocked, SIGTERM);
    sigaddset(&blocked, SIGINT);
    sigprocmask(SIG_BLOCK, &blocked, &mask);
    struct sigaction action = { .sa_handler = end };
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGINT, &action, NULL);
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    prctl(PR_SET_TIMERSLACK, 1000);
    /* A real wire does not wait for a processor. Where that is refused, the counters tell how late it was. */
    struct sched_param first = { .sched_priority = 1 };
    if (sched_setscheduler(0, SCHED_FIFO, &first)) setpriority(PRIO_PROCESS, 0, -20);
    for (unsigned i = 0; i < count; i++) lay(&wires[i], argv[optind + i], mix(seed) + i);
    puts("ready");
    fflush(stdout);
    while (!ended) {
        for (unsigned i = 0; i < count; i++) while (carry(&wires[i]));
        rest(count, &mask);
    }
    report(count);
    return 0;
}
