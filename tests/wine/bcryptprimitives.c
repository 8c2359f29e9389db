/* The one function of bcryptprimitives.dll that Rust's standard library calls: wine 8 lacks it. */

#include <windows.h>

BOOLEAN NTAPI SystemFunction036(PVOID buffer, ULONG bytes); /* RtlGenRandom */

__declspec(dllexport) BOOL WINAPI ProcessPrng(PBYTE buffer, SIZE_T bytes)
{
    while (bytes > 0) {
        ULONG part = bytes > 0x10000000 ? 0x10000000 : (ULONG)bytes;
        SystemFunction036(buffer, part);
        buffer += part;
        bytes -= part;
    }
    return TRUE;
}
