/* SPDX-License-Identifier: MIT */
/*
 * The write test: bytes at random places of a file, written through a view of
 * it by several threads, looked for in the file itself, and put back.
 */
#ifndef PAGER_WRITES_H
#define PAGER_WRITES_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Threads at most. */
#define WRITES_MAX_THREADS	64

/**
 * struct writes - what is to be written
 * @file: the file
 * @size: its bytes
 * @seed: decides places and values
 * @count: writes
 * @slots: places: the n-th eight bytes of the file
 * @old: what is there before
 * @next: the next to make: threads take one after the other
 * @done: writes made so far
 * @stop: ends the threads early
 *
 * The same slot may come twice. What is written depends on the slot and on
 * what was there before the first write, so both write the same, and it does
 * not matter which thread comes last.
 */
struct writes {
	int file;
	size_t size;
	uint64_t seed;
	size_t count;
	size_t *slots;
	uint64_t *old;
	atomic_size_t next;
	atomic_size_t done;
	atomic_bool stop;
};

/* Choose the places and read what is there. Return: 0, or -errno, told. */
int writes_plan(struct writes *w, int file, size_t size, size_t count, uint64_t seed);
void writes_free(struct writes *w);

/*
 * Write all into @view, by @threads threads. @tick is called in between;
 * when it answers false the threads are stopped.
 * Return: 0, or -errno, told; -EINTR when @tick ended it.
 */
int writes_make(struct writes *w, void *view, unsigned int threads,
		bool (*tick)(void *arg, size_t done), void *arg);

/* Look in the file for what was written. Return: how many are not there. */
size_t writes_missing(const struct writes *w);

/*
 * Put back what was there, by nothing but system calls.
 * Return: how many could not be.
 */
size_t writes_undo(const struct writes *w);

#endif /* PAGER_WRITES_H */
