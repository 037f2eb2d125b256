/*
 * Writes all that a set has to stdout, for the test to compare with what other tools found:
 *
 *   disk NUMBER SIZE FORMAT
 *   volume SIZE ID                 and its bytes
 *   file SIZE PATH-LENGTH          path and bytes
 *   stream SIZE PATH-LENGTH        path, a colon and the name, and bytes
 *   link SIZE PATH-LENGTH          path and target
 *   directory 0 PATH-LENGTH        path
 *   refused 0 PATH-LENGTH CODE     path of a file that cannot be read
 *   system FAMILY VERSION HOST-NAME
 *   finding CODE
 */
#include "check.h"

#include <inttypes.h>
#include <string.h>

#include "volfold.h"

/* Odd, so that reads end where no structure does. */
enum { PIECE = 65537 };

static void fail(const char *what, VolfoldStatus status)
{
    fprintf(stderr, "%s: %s: %s [%s]\n", what, volfold_status_text(status),
            volfold_error_message(), volfold_error_code());
    exit(1);
}

#define OK(call)                                   \
    do {                                           \
        VolfoldStatus status_ = (call);            \
        if (status_ != VOLFOLD_STATUS_OK) {        \
            fail(#call, status_);                  \
        }                                          \
    } while (0)

static void put(const void *bytes, size_t length)
{
    CHECK(fwrite(bytes, 1, length, stdout) == length);
}

static void put_text(VolfoldText text)
{
    put(text.bytes, text.length);
}

static void put_volume(VolfoldVolume *volume)
{
    static unsigned char buffer[PIECE];
    const VolfoldVolumeInfo *info = NULL;
    uint64_t offset;
    OK(volfold_volume_info(volume, &info));
    CHECK(info->struct_size == sizeof *info && VOLFOLD_HAS(info, places));
    printf("volume %" PRIu64 " ", info->size);
    put_text(info->id);
    putchar('\n');
    for (offset = 0; offset < info->size;) {
        uint64_t left = info->size - offset;
        size_t length = left < PIECE ? (size_t)left : PIECE;
        OK(volfold_volume_read(volume, offset, buffer, length));
        put(buffer, length);
        offset += length;
    }
    OK(volfold_free(info));
}

/* Writes a stream of a file; NULL is the main one. */
static void put_file(VolfoldVolume *volume, VolfoldText path, const VolfoldText *stream)
{
    static unsigned char buffer[PIECE];
    VolfoldFile *file = NULL;
    uint64_t size = 0, offset, extents = 0;
    size_t count = 0;
    VolfoldStatus status =
        volfold_file_open(volume, path.bytes, path.length, stream ? stream->bytes : NULL,
                          stream ? stream->length : 0, &file);
    if (status == VOLFOLD_STATUS_OK) {
        OK(volfold_file_size(file, &size));
        status = volfold_file_read(file, 0, buffer, 1, &count);
    }
    if (status != VOLFOLD_STATUS_OK) {
        printf("refused 0 %zu %s\n", path.length, volfold_error_code());
        put_text(path);
        if (file) {
            OK(volfold_file_close(file));
        }
        return;
    }
    if (stream) {
        printf("stream %" PRIu64 " %zu\n", size, path.length + 1 + stream->length);
        put_text(path);
        putchar(':');
        put_text(*stream);
    } else {
        printf("file %" PRIu64 " %zu\n", size, path.length);
        put_text(path);
    }
    for (offset = 0; offset < size; offset += count) {
        OK(volfold_file_read(file, offset, buffer, PIECE, &count));
        CHECK(count > 0);
        put(buffer, count);
    }
    OK(volfold_file_read(file, size, buffer, PIECE, &count));
    CHECK(count == 0);
    for (offset = 0; offset < size; extents++) {
        VolfoldExtent extent;
        OK(volfold_file_extent(file, offset, &extent));
        CHECK(extent.length > 0 && extent.kind != VOLFOLD_EXTENT_KIND_UNREADABLE);
        offset += extent.length;
    }
    CHECK(offset == size);
    OK(volfold_file_close(file));
}

static void put_entry(VolfoldVolume *volume, const VolfoldEntry *entry)
{
    VolfoldStat stat;
    const VolfoldStreamList *streams = NULL;
    size_t index;
    CHECK(entry->status == VOLFOLD_STATUS_OK);
    CHECK(entry->stat && entry->stat->node == entry->node);
    stat.struct_size = sizeof stat;
    OK(volfold_stat(volume, entry->path.bytes, entry->path.length, false, &stat));
    CHECK(stat.node == entry->node && stat.kind == entry->kind && stat.size == entry->stat->size);
    switch (entry->kind) {
    case VOLFOLD_FILE_KIND_DIRECTORY:
        printf("directory 0 %zu\n", entry->path.length);
        put_text(entry->path);
        break;
    case VOLFOLD_FILE_KIND_SYMLINK: {
        const VolfoldTextList *target = NULL;
        OK(volfold_read_link(volume, entry->path.bytes, entry->path.length, &target));
        CHECK(target->count == 1);
        printf("link %zu %zu\n", target->items[0].length, entry->path.length);
        put_text(entry->path);
        put_text(target->items[0]);
        OK(volfold_free(target));
        return;
    }
    case VOLFOLD_FILE_KIND_REGULAR:
        put_file(volume, entry->path, NULL);
        break;
    default:
        return;
    }
    OK(volfold_streams(volume, entry->path.bytes, entry->path.length, &streams));
    for (index = 0; index < streams->count; index++) {
        put_file(volume, entry->path, &streams->items[index].name);
    }
    OK(volfold_free(streams));
}

static void put_tree(VolfoldVolume *volume)
{
    VolfoldDirectory *walk = NULL;
    const VolfoldEntry *entry = NULL;
    VolfoldStatus status;
    OK(volfold_walk_open(volume, "/", VOLFOLD_NUL_TERMINATED, &walk));
    while ((status = volfold_directory_next(walk, &entry)) == VOLFOLD_STATUS_OK) {
        put_entry(volume, entry);
        OK(volfold_free(entry));
    }
    CHECK(status == VOLFOLD_STATUS_END && entry == NULL);
    OK(volfold_directory_close(walk));
}

static void put_disk(VolfoldSet *set, size_t index)
{
    unsigned char sector[4096], bytes[4096];
    const VolfoldDiskInfo *info = NULL;
    uint64_t offset;
    OK(volfold_disk_info(set, index, &info));
    CHECK(info->file_count > 0 && info->chain_count > 0 && info->sector_size <= sizeof sector);
    printf("disk %zu %" PRIu64 " ", index, info->size);
    put_text(info->format);
    putchar('\n');
    OK(volfold_disk_read_sectors(set, index, 0, 1, sector));
    OK(volfold_disk_read(set, index, 0, bytes, info->sector_size));
    CHECK(memcmp(sector, bytes, info->sector_size) == 0);
    for (offset = 0; offset < info->size;) {
        VolfoldExtent extent;
        OK(volfold_disk_extent(set, index, offset, &extent));
        CHECK(extent.length > 0 && extent.status == VOLFOLD_STATUS_OK);
        offset += extent.length;
    }
    CHECK(offset == info->size);
    OK(volfold_free(info));
}

int main(int argc, char **argv)
{
    VolfoldOptions *options = NULL;
    VolfoldSet *set = NULL;
    const VolfoldFindingList *findings = NULL;
    const VolfoldSystemList *systems = NULL;
    size_t count = 0, index;
    BINARY_OUTPUT();
    CHECK(argc > 1);
    CHECK(volfold_abi_version() == VOLFOLD_ABI_VERSION);
    OK(volfold_options_new(&options));
    OK(volfold_options_set_cache_size(options, 8 << 20));
    OK(volfold_set_open(options, (const char *const *)(argv + 1), (size_t)argc - 1, &set));
    OK(volfold_options_free(options));
    OK(volfold_set_disk_count(set, &count));
    for (index = 0; index < count; index++) {
        put_disk(set, index);
    }
    OK(volfold_set_volume_count(set, &count));
    for (index = 0; index < count; index++) {
        const VolfoldVolumeInfo *info = NULL;
        VolfoldVolume *volume = NULL, *same = NULL;
        OK(volfold_set_volume(set, index, &volume));
        OK(volfold_volume_info(volume, &info));
        OK(volfold_set_find_volume(set, info->id.bytes, &same));
        OK(volfold_volume_close(same));
        put_volume(volume);
        if (info->readable) {
            VolfoldUsage usage;
            OK(volfold_volume_usage(volume, &usage));
            CHECK(usage.size > 0 && usage.used <= usage.size);
            put_tree(volume);
        }
        OK(volfold_free(info));
        OK(volfold_volume_close(volume));
    }
    OK(volfold_set_systems(set, &systems));
    for (index = 0; index < systems->count; index++) {
        const VolfoldSystem *system = systems->items[index];
        printf("system %d ", (int)system->family);
        put_text(system->version);
        putchar(' ');
        put_text(system->host_name);
        putchar('\n');
    }
    OK(volfold_free(systems));
    OK(volfold_set_findings(set, &findings));
    for (index = 0; index < findings->count; index++) {
        printf("finding ");
        put_text(findings->items[index]->code);
        putchar('\n');
    }
    OK(volfold_free(findings));
    OK(volfold_set_close(set));
    return 0;
}
