/* A plugin for QEMU that counts what a program does between two of its functions, exactly.
 *
 * Arguments: begin=ADDR end=ADDR (the functions), flash=ADDR flash_end=ADDR, out=FILE.
 * A region opens when the function at `begin` is entered, which still counts neither; it closes likewise at `end`. For
 * each region FILE gets a line "region N", then one for every instruction that was executed:
 *
 *     ADDRESS COUNT LEFT BYTES
 *
 * the address in hexadecimal; how often it was executed; how often something other than the following instruction came
 * next, counted for the last instruction of a block only (for a branch: how often it was taken); and the bytes that it
 * read from flash. The last line is "end", without which the file is not whole.
 *
 * Blocks are counted, not instructions: QEMU translates a block of instructions at a time and always executes all of
 * it, but for faults. The few functions of QEMU that are used are declared here, so that no header is needed.
 */
#include <inttypes.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifndef API_VERSION
#define API_VERSION 1
#endif
#define EXPORT __attribute__((visibility("default")))

struct qemu_plugin_tb;
struct qemu_plugin_insn;
extern void qemu_plugin_register_vcpu_tb_trans_cb(uint64_t, void (*)(uint64_t, struct qemu_plugin_tb *));
extern void qemu_plugin_register_vcpu_tb_exec_cb(struct qemu_plugin_tb *, void (*)(unsigned, void *), int, void *);
extern void qemu_plugin_register_vcpu_mem_cb(struct qemu_plugin_insn *,
                                             void (*)(unsigned, uint32_t, uint64_t, void *), int, int, void *);
extern void qemu_plugin_register_atexit_cb(uint64_t, void (*)(uint64_t, void *), void *);
extern size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *);
extern struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *, size_t);
extern uint64_t qemu_plugin_insn_vaddr(const struct qemu_plugin_insn *);
extern size_t qemu_plugin_insn_size(const struct qemu_plugin_insn *);
extern unsigned qemu_plugin_mem_size_shift(uint32_t);
enum { NO_REGISTERS = 0, READS_AND_WRITES = 3 };

EXPORT int qemu_plugin_version = API_VERSION;

struct instruction {
    uint64_t address;
    bool used;
    uint64_t count, left, bytes;
};

struct block {
    struct block *next;
    uint64_t start, end; /* addresses; end is that of the instruction that follows */
    uint64_t count, left;
    size_t n;
    struct instruction *instructions[];
};

/* By address, open addressing. A program with more instructions than that ends with an error. */
enum { SLOTS = 1 << 18 };
static struct instruction instructions[SLOTS];
static size_t used;
static struct block *blocks;

static uint64_t begin, end, flash, flash_end;
static FILE *out;
static bool inside;
static unsigned regions;
static struct block *last; /* the block before this one, within the region */

static struct instruction *instruction(uint64_t address) {
    size_t slot = (address >> 1) % SLOTS;
    while (instructions[slot].used && instructions[slot].address != address) slot = (slot + 1) % SLOTS;
    if (!instructions[slot].used) {
        if (++used > SLOTS / 2) {
            fprintf(stderr, "regions.c: more than %d instructions\n", SLOTS / 2);
            exit(1);
        }
        instructions[slot].used = true;
        instructions[slot].address = address;
    }
    return &instructions[slot];
}

static void open_region(void) {
    for (struct block *b = blocks; b; b = b->next) b->count = b->left = 0;
    for (size_t i = 0; i < SLOTS; i++) instructions[i].count = instructions[i].left = instructions[i].bytes = 0;
    last = NULL;
    inside = true;
}

static void close_region(void) {
    inside = false;
    fprintf(out, "region %u\n", regions++);
    for (struct block *b = blocks; b; b = b->next) {
        for (size_t i = 0; i < b->n; i++) b->instructions[i]->count += b->count;
        b->instructions[b->n - 1]->left += b->left;
    }
    for (size_t i = 0; i < SLOTS; i++) {
        const struct instruction *in = &instructions[i];
        if (in->count) {
            fprintf(out, "%" PRIx64 " %" PRIu64 " %" PRIu64 " %" PRIu64 "\n", in->address, in->count, in->left,
                    in->bytes);
        }
    }
}

static void on_block(unsigned cpu, void *data) {
    (void)cpu;
    struct block *b = data;
    if (b->start == begin) {
        open_region();
        return;
    }
    if (!inside) return;
    if (last && last->end != b->start) last->left++;
    last = b;
    if (b->start == end) {
        close_region();
        return;
    }
    b->count++;
}

/* QEMU 7.2 takes the flag of reads for that of writes; asking for both is right everywhere, for nothing writes to flash. */
static void on_access(unsigned cpu, uint32_t info, uint64_t address, void *data) {
    (void)cpu;
    if (inside && flash <= address && address < flash_end) {
        ((struct instruction *)data)->bytes += UINT64_C(1) << qemu_plugin_mem_size_shift(info);
    }
}

static void on_translation(uint64_t id, struct qemu_plugin_tb *tb) {
    (void)id;
    size_t n = qemu_plugin_tb_n_insns(tb);
    if (n == 0) return;
    struct block *b = calloc(1, sizeof *b + n * sizeof b->instructions[0]);
    if (!b) abort();
    b->n = n;
    for (size_t i = 0; i < n; i++) {
        struct qemu_plugin_insn *in = qemu_plugin_tb_get_insn(tb, i);
        uint64_t address = qemu_plugin_insn_vaddr(in);
        if (i == 0) b->start = address;
        b->end = address + qemu_plugin_insn_size(in);
        b->instructions[i] = instruction(address);
        if (flash < flash_end) {
            qemu_plugin_register_vcpu_mem_cb(in, on_access, NO_REGISTERS, READS_AND_WRITES, b->instructions[i]);
        }
    }
    b->next = blocks;
    blocks = b;
    qemu_plugin_register_vcpu_tb_exec_cb(tb, on_block, NO_REGISTERS, b);
}

static void on_end(uint64_t id, void *data) {
    (void)id;
    (void)data;
    fprintf(out, "end\n");
    fclose(out);
}

EXPORT int qemu_plugin_install(uint64_t id, const void *info, int argc, char **argv) {
    (void)info;
    const char *path = NULL;
    struct { const char *name; uint64_t *value; } numbers[] = {
        {"begin=", &begin}, {"end=", &end}, {"flash=", &flash}, {"flash_end=", &flash_end},
    };
    for (int i = 0; i < argc; i++) {
        for (size_t j = 0; j < sizeof numbers / sizeof numbers[0]; j++) {
            size_t n = strlen(numbers[j].name);
            if (!strncmp(argv[i], numbers[j].name, n)) *numbers[j].value = strtoull(argv[i] + n, NULL, 0);
        }
        if (!strncmp(argv[i], "out=", 4)) path = argv[i] + 4;
    }
    if (!path || !begin || !end) {
        fprintf(stderr, "regions.c: wanted begin=, end= and out=\n");
        return 1;
    }
    out = fopen(path, "w");
    if (!out) {
        perror(path);
        return 1;
    }
    qemu_plugin_register_vcpu_tb_trans_cb(id, on_translation);
    qemu_plugin_register_atexit_cb(id, on_end, NULL);
    return 0;
}
