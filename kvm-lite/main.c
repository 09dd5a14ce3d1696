// SPDX-License-Identifier: GPL-2.0
/* The module: its device, /dev/kvm-lite, and what can be asked of it (docs/kvm-lite-abi.md). */
#include "internal.h"

#include <linux/miscdevice.h>
#include <linux/module.h>

/* What is there, with no number to say of it. */
static const u16 capabilities[] = {
	KVM_CAP_USER_MEMORY, KVM_CAP_DESTROY_MEMORY_REGION_WORKS, KVM_CAP_JOIN_MEMORY_REGIONS_WORKS,
	KVM_CAP_SYNC_MMU, KVM_CAP_READONLY_MEM, KVM_CAP_SET_TSS_ADDR, KVM_CAP_SET_IDENTITY_MAP_ADDR,
	KVM_CAP_EXT_CPUID, KVM_CAP_NOP_IO_DELAY, KVM_CAP_MP_STATE, KVM_CAP_VCPU_EVENTS,
	KVM_CAP_DEBUGREGS, KVM_CAP_XSAVE, KVM_CAP_XCRS, KVM_CAP_IRQCHIP, KVM_CAP_SPLIT_IRQCHIP,
	KVM_CAP_IRQFD, KVM_CAP_IOEVENTFD, KVM_CAP_IOEVENTFD_ANY_LENGTH, KVM_CAP_IOEVENTFD_NO_LENGTH,
	KVM_CAP_SIGNAL_MSI, KVM_CAP_CLOCKSOURCE, KVM_CAP_KVMCLOCK_CTRL, KVM_CAP_GET_TSC_KHZ,
	KVM_CAP_TSC_DEADLINE_TIMER, KVM_CAP_IMMEDIATE_EXIT, KVM_CAP_INTERNAL_ERROR_DATA,
	KVM_CAP_CHECK_EXTENSION_VM, KVM_CAP_ENABLE_CAP_VM,
};

int kvml_check_extension(long capability)
{
	u32 i;

	switch (capability) {
	case KVM_CAP_ADJUST_CLOCK:
		return KVM_CLOCK_TSC_STABLE | KVM_CLOCK_REALTIME | KVM_CLOCK_HOST_TSC;
	case KVM_CAP_NR_VCPUS:
		return min_t(u32, num_online_cpus(), KVML_VCPUS_MAX);
	case KVM_CAP_MAX_VCPUS:
	case KVM_CAP_MAX_VCPU_ID:
		return KVML_VCPUS_MAX;
	case KVM_CAP_NR_MEMSLOTS:
		return KVML_SLOTS_MAX;
	case KVM_CAP_IRQ_ROUTING:
		return KVML_ROUTES_MAX;
	case KVM_CAP_XSAVE2:
		return sizeof(struct kvm_xsave);
	}
	for (i = 0; i < ARRAY_SIZE(capabilities); i++) {
		if (capabilities[i] == capability)
			return 1;
	}
	return 0;
}

static long device_ioctl(struct file *file, unsigned int command, unsigned long argument)
{
	void __user *user = (void __user *)argument;

	switch (command) {
	case KVM_GET_API_VERSION:
		return argument ? -EINVAL : KVM_API_VERSION;
	case KVM_CREATE_VM:
		/* There is one type of machine. */
		return argument ? -EINVAL : kvml_vm_create();
	case KVM_CHECK_EXTENSION:
		return kvml_check_extension(argument);
	case KVM_GET_VCPU_MMAP_SIZE:
		return argument ? -EINVAL : KVML_RUN_PAGES * PAGE_SIZE;
	case KVM_GET_SUPPORTED_CPUID:
		return kvml_supported_cpuid(user);
	case KVM_GET_MSR_INDEX_LIST:
		return kvml_msr_list(user);
	case KVM_GET_MSR_FEATURE_INDEX_LIST:
		/* No feature MSR is offered: a list of length 0. */
		return put_user(0, (u32 __user *)user);
	default:
		return -ENOTTY;
	}
}

static const struct file_operations device_operations = {
	.owner = THIS_MODULE,
	.unlocked_ioctl = device_ioctl,
	.compat_ioctl = compat_ptr_ioctl,
};

static struct miscdevice device = {
	.minor = MISC_DYNAMIC_MINOR,
	.name = KVML_NAME,
	.mode = 0600,
	.fops = &device_operations,
};

static int __init kvml_init(void)
{
	int outcome = kvml_eventfd_module_init();

	if (outcome)
		return outcome;
	outcome = kvml_vmx_init();
	if (outcome)
		goto eventfd;
	outcome = misc_register(&device);
	if (outcome)
		goto vmx;
	pr_info(KVML_NAME ": ready, large pages %s, EPT accessed and dirty bits %s\n",
		kvml_vmx.large_pages ? "on" : "off", kvml_vmx.accessed_dirty ? "on" : "off");
	return 0;

vmx:
	kvml_vmx_exit();
eventfd:
	kvml_eventfd_module_exit();
	return outcome;
}

static void __exit kvml_exit(void)
{
	misc_deregister(&device);
	kvml_vmx_exit();
	kvml_eventfd_module_exit();
}

module_init(kvml_init);
module_exit(kvml_exit);
MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("A minimal VMX hypervisor with a subset of KVM's ABI");
