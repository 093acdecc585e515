import java.util.Arrays;
import java.util.stream.Collectors;
import org.apache.ignite.Ignition;
import org.apache.ignite.cluster.ClusterState;
import org.apache.ignite.configuration.ClientConnectorConfiguration;
import org.apache.ignite.configuration.IgniteConfiguration;
import org.apache.ignite.spi.communication.tcp.TcpCommunicationSpi;
import org.apache.ignite.spi.discovery.tcp.TcpDiscoverySpi;
import org.apache.ignite.spi.discovery.tcp.ipfinder.vm.TcpDiscoveryVmIpFinder;

/** One Ignite server on loopback. Arguments: name, folder, client port, then its own discovery and
 * communication ports, then the discovery ports of all. */
public class Node {
    public static void main(String[] words) {
        int client = Integer.parseInt(words[2]);
        int discovery = Integer.parseInt(words[3]);
        int communication = Integer.parseInt(words[4]);
        TcpDiscoveryVmIpFinder finder = new TcpDiscoveryVmIpFinder();
        finder.setAddresses(Arrays.stream(words).skip(5)
            .map(port -> "127.0.0.1:" + port).collect(Collectors.toList()));
        IgniteConfiguration config = new IgniteConfiguration()
            .setIgniteInstanceName(words[0])
            .setConsistentId(words[0])
            .setWorkDirectory(words[1])
            .setLocalHost("127.0.0.1")
            .setDiscoverySpi(new TcpDiscoverySpi()
                .setLocalPort(discovery).setLocalPortRange(0).setIpFinder(finder))
            .setCommunicationSpi(new TcpCommunicationSpi()
                .setLocalPort(communication).setLocalPortRange(0))
            .setClientConnectorConfiguration(new ClientConnectorConfiguration()
                .setHost("127.0.0.1").setPort(client).setPortRange(0));
        Ignition.start(config).cluster().state(ClusterState.ACTIVE);
    }
}
