// SPDX-License-Identifier: GPL-2.0
/*
 * machine - what a run ran on
 *
 * What a figure depends on: processor, mitigations, kernel, memory. All from
 * /proc and /sys; what is not there is not told.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "bench.h"

#define VULNERABILITIES	"/sys/devices/system/cpu/vulnerabilities"

/* The value on the line of @file that begins with @key; "" if there is none. */
static const char *line_of(const char *file, const char *key)
{
	static char line[256];
	size_t length = strlen(key);
	FILE *f = fopen(file, "r");
	bool found = false;

	while (f && !found && fgets(line, sizeof(line), f))
		found = !strncmp(line, key, length);
	if (f)
		fclose(f);
	if (!found)
		return "";
	line[strcspn(line, "\n")] = '\0';
	return line + length + strspn(line + length, " \t:");
}

static const cpu_set_t *cpus(void)
{
	static cpu_set_t set;
	static bool known;

	if (!known)
		check(!sched_getaffinity(0, sizeof(set), &set), "sched_getaffinity");
	known = true;
	return &set;
}

int cpu_count(void)
{
	return CPU_COUNT(cpus());
}

void pin(int n)
{
	cpu_set_t set = *cpus();
	int cpu;

	for (cpu = 0; n >= 0 && cpu < CPU_SETSIZE; cpu++)
		if (CPU_ISSET(cpu, cpus()) && n-- == 0) {
			CPU_ZERO(&set);
			CPU_SET(cpu, &set);
		}
	check(!sched_setaffinity(0, sizeof(set), &set), "sched_setaffinity");
}

unsigned long memory_available(bool locked)
{
	unsigned long free = strtoul(line_of("/proc/meminfo", "MemAvailable"),
				     NULL, 10) * 1024;
	struct rlimit most;

	/* Who has CAP_IPC_LOCK has no limit. */
	if (locked && geteuid() && !getrlimit(RLIMIT_MEMLOCK, &most) && most.rlim_cur < free)
		return most.rlim_cur;
	return free;
}

void json_string(FILE *f, const char *text)
{
	putc('"', f);
	for (; *text; text++) {
		if (*text == '"' || *text == '\\')
			putc('\\', f);
		if ((unsigned char)*text >= ' ')
			putc(*text, f);
	}
	putc('"', f);
}

static void member(FILE *f, const char *name, const char *value)
{
	fprintf(f, "  \"%s\": ", name);
	json_string(f, value);
	fprintf(f, ",\n");
}

/* Call @fn for each vulnerability that the kernel knows, and its mitigation. */
static void mitigations(FILE *f, void (*fn)(FILE *f, const char *name,
					    const char *value, int n))
{
	struct dirent **names;
	char path[512];
	int i, n = scandir(VULNERABILITIES, &names, NULL, alphasort), told = 0;

	for (i = 0; i < n; i++) {
		if (names[i]->d_name[0] != '.') {
			snprintf(path, sizeof(path), VULNERABILITIES "/%s",
				 names[i]->d_name);
			fn(f, names[i]->d_name, line_of(path, ""), told++);
		}
		free(names[i]);
	}
	if (n >= 0)
		free(names);
}

static void mitigation_json(FILE *f, const char *name, const char *value, int n)
{
	fprintf(f, "%s\n   \"%s\": ", n ? "," : "", name);
	json_string(f, value);
}

/* Only those that cost something, or are left out. */
static void mitigation_print(FILE *f, const char *name, const char *value, int n)
{
	(void)n;
	if (strcmp(value, "Not affected"))
		fprintf(f, "  %s: %s\n", name, value);
}

void machine_json(FILE *f)
{
	struct utsname u;

	check(!uname(&u), "uname");
	fprintf(f, " \"machine\": {\n");
	member(f, "kernel", u.release);
	member(f, "kernel_version", u.version);
	member(f, "cpu", line_of("/proc/cpuinfo", "model name"));
	member(f, "cmdline", line_of("/proc/cmdline", ""));
	member(f, "huge_pages", line_of("/sys/kernel/mm/transparent_hugepage/enabled", ""));
	member(f, "clocksource",
	       line_of("/sys/devices/system/clocksource/clocksource0/current_clocksource", ""));
	member(f, "avm", line_of("/sys/module/avm/version", ""));
	fprintf(f, "  \"cpus\": %d,\n", cpu_count());
	fprintf(f, "  \"memory_mib\": %lu,\n",
		strtoul(line_of("/proc/meminfo", "MemTotal"), NULL, 10) / 1024);
	fprintf(f, "  \"mitigations\": {");
	mitigations(f, mitigation_json);
	fprintf(f, "\n  }\n },\n");
}

void machine_print(void)
{
	struct utsname u;

	check(!uname(&u), "uname");
	printf("Linux %s, avm %s\n", u.release,
	       line_of("/sys/module/avm/version", ""));
	printf("%d CPUs: %s; %lu MiB\n", cpu_count(),
	       line_of("/proc/cpuinfo", "model name"),
	       strtoul(line_of("/proc/meminfo", "MemTotal"), NULL, 10) / 1024);
	printf("mitigations:\n");
	mitigations(stdout, mitigation_print);
	printf("clock: %s\n", options.instructions ?
	       "counts instructions" : "time, in ns");
}
