// SPDX-License-Identifier: GPL-2.0
/* The module: its device, /dev/kvm-lite, and what can be asked of it (docs/kvm-lite-abi.md). */
#include "internal.h"

#include <linux/miscdevice.h>
#include <linux/module.h>
#include <linux/pm_domain.h>

/* By their numbers; what is not here is not there. */
static const u16 capabilities[] = {
	[KVM_CAP_USER_MEMORY] = 1, [KVM_CAP_DESTROY_MEMORY_REGION_WORKS] = 1,
	[KVM_CAP_JOIN_MEMORY_REGIONS_WORKS] = 1, [KVM_CAP_SYNC_MMU] = 1, [KVM_CAP_READONLY_MEM] = 1,
	[KVM_CAP_NR_MEMSLOTS] = KVML_SLOTS_MAX, [KVM_CAP_NR_VCPUS] = KVML_VCPUS_MAX,
	[KVM_CAP_MAX_VCPUS] = KVML_VCPUS_MAX, [KVM_CAP_MAX_VCPU_ID] = KVML_VCPUS_MAX,
	[KVM_CAP_SET_TSS_ADDR] = 1, [KVM_CAP_SET_IDENTITY_MAP_ADDR] = 1, [KVM_CAP_EXT_CPUID] = 1,
	[KVM_CAP_MP_STATE] = 1, [KVM_CAP_VCPU_EVENTS] = 1, [KVM_CAP_DEBUGREGS] = 1,
	[KVM_CAP_XSAVE] = 1, [KVM_CAP_XCRS] = 1, [KVM_CAP_INTERNAL_ERROR_DATA] = 1,
	[KVM_CAP_IRQCHIP] = 1, [KVM_CAP_SPLIT_IRQCHIP] = 1, [KVM_CAP_SIGNAL_MSI] = 1,
	[KVM_CAP_IRQ_ROUTING] = KVML_ROUTES_MAX, [KVM_CAP_IRQFD] = 1, [KVM_CAP_IOEVENTFD] = 1,
	[KVM_CAP_IOEVENTFD_ANY_LENGTH] = 1, [KVM_CAP_IOEVENTFD_NO_LENGTH] = 1,
	[KVM_CAP_ADJUST_CLOCK] = KVM_CLOCK_TSC_STABLE | KVM_CLOCK_REALTIME | KVM_CLOCK_HOST_TSC,
	[KVM_CAP_CLOCKSOURCE] = 1, [KVM_CAP_KVMCLOCK_CTRL] = 1, [KVM_CAP_GET_TSC_KHZ] = 1,
	[KVM_CAP_TSC_DEADLINE_TIMER] = 1, [KVM_CAP_NOP_IO_DELAY] = 1, [KVM_CAP_IMMEDIATE_EXIT] = 1,
	[KVM_CAP_SYS_ATTRIBUTES] = 1, [KVM_CAP_CHECK_EXTENSION_VM] = 1, [KVM_CAP_ENABLE_CAP_VM] = 1,
};

int kvml_check_extension(unsigned long capability)
{
	/* With tiles the area is as long as the host's own. */
	if (capability == KVM_CAP_XSAVE2)
		return kvml_supported_xcr0() & XFEATURE_MASK_XTILE_DATA ?
			cpuid_ebx(0xd) : sizeof(struct kvm_xsave);
	if (capability >= ARRAY_SIZE(capabilities))
		return 0;
	return capabilities[array_index_nospec(capability, ARRAY_SIZE(capabilities))];
}

/* The one attribute: what of XCR0 there is for processes with every permission. */
static int get_attribute(const struct kvm_device_attr __user *user, bool only_asked)
{
	struct kvm_device_attr attribute;

	if (copy_from_user(&attribute, user, sizeof(attribute)))
		return -EFAULT;
	if (attribute.flags || attribute.group || attribute.attr != KVM_X86_XCOMP_GUEST_SUPP)
		return -ENXIO;
	return only_asked ? 0 : put_user(kvml_offered_xcr0(), (u64 __user *)attribute.addr);
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
	case KVM_HAS_DEVICE_ATTR:
	case KVM_GET_DEVICE_ATTR:
		return get_attribute(user, command == KVM_HAS_DEVICE_ATTR);
	case KVM_GET_MSR_INDEX_LIST:
		return kvml_msr_list(user);
	default:
		return -ENOTTY;
	}
}

static const struct file_operations device_operations = {
	.owner = THIS_MODULE, .unlocked_ioctl = device_ioctl,
};

static struct miscdevice device = {
	.minor = MISC_DYNAMIC_MINOR, .name = KVML_NAME, .mode = 0600, .fops = &device_operations,
};

static int __init kvml_init(void)
{
	int outcome = kvml_vmx_init();

	if (outcome)
		return outcome;
	outcome = misc_register(&device);
	if (outcome) {
		kvml_vmx_exit();
		return outcome;
	}
	dev_pm_domain_set(device.this_device, &kvml_vmx_sleep);
	pr_info(KVML_NAME ": ready\n");
	return 0;
}

static void __exit kvml_exit(void)
{
	misc_deregister(&device);
	kvml_vmx_exit();
	/* What frees an ioeventfd is code of the module. */
	rcu_barrier();
}

module_init(kvml_init);
module_exit(kvml_exit);
MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("A minimal VMX hypervisor with a subset of KVM's ABI");
